"""Bearer tokens of devices. The cloud keeps their SHA-256 alone, in a file with one line for each token.

A line is `NAME sha256:HEX`; empty lines and lines that begin with # are ignored. Two lines may have the same name, so
that a device can change its token without a pause. A token has 256 random bits, which nobody can guess from its hash;
so the hash needs neither salt nor stretching.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from janus_vit.cloud.access.watched import WatchedFiles, read_bytes
from janus_vit.errors import InputError

_RANDOM_BYTES = 32
_LONGEST_HEADER = 200  # characters
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE = re.compile(r"(?P<name>\S+)\s+sha256:(?P<digest>[0-9a-f]{64})")


def new_token() -> str:
    """Make a token: 256 random bits as text."""
    return secrets.token_urlsafe(_RANDOM_BYTES)


def hash_line(name: str, token: str) -> str:
    """Line of the token file that admits the holder of a token under this name.

    Raises:
        InputError: the name has other characters than letters, digits, dots, dashes and underscores, or more than 64.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"device name {name[:80]!r} must be 1 to 64 letters, digits, dots, dashes or underscores, such as robot-7"
        )
    return f"{name} sha256:{_digest(token).hex()}"


class Tokens:
    """The tokens of a file, which may change while the cloud runs. Any thread may ask.

    Args:
        path: the file.

    Raises:
        InputError: the file cannot be read, a line cannot be used, or there is none.
    """

    def __init__(self, path: Path) -> None:
        self._names = WatchedFiles([path], lambda: _read(path))
        if not self._names.value():
            raise InputError(f"{path}: has no token: add the line that 'janus-vit token NAME' prints")

    def identify(self, header: str | None) -> str | None:
        """Name of the device whose token is in a header `Authorization: Bearer TOKEN`; None for any other header.

        Takes the same time for every wrong token: what is compared and looked up is its hash, which nobody can choose.
        """
        scheme, _, token = (header or "")[:_LONGEST_HEADER].partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest = _digest(token.strip())
        name, known = self._names.value().get(digest[:8], ("", b""))
        return name if hmac.compare_digest(known, digest) else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _read(path: Path) -> Mapping[bytes, tuple[str, bytes]]:
    """Name and hash of each token, by the first bytes of the hash."""
    names: dict[bytes, tuple[str, bytes]] = {}
    for number, text in enumerate(read_bytes(path).decode("utf-8-sig", "replace").splitlines(), start=1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or not _NAME.fullmatch(match["name"]):
            raise InputError(f"{path}: line {number} is not NAME sha256:HEX: use what 'janus-vit token NAME' prints")
        digest = bytes.fromhex(match["digest"])
        if names.get(digest[:8], (match["name"],))[0] != match["name"]:
            raise InputError(f"{path}: line {number} has the token of another device: make one for each device")
        names[digest[:8]] = (match["name"], digest)
    return names
