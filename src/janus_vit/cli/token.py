"""`janus-vit token`: make a token for a device, and the line that admits it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import FileIO
from pathlib import Path
from typing import Annotated

import typer

from janus_vit.cli.common.console import messages, say
from janus_vit.errors import InputError


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the device, such as robot-7.")],
    tokens: Annotated[
        Path | None,
        typer.Option("--tokens", metavar="FILE", help="Append the hash to this file, which 'cloud --tokens' reads."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the token to this new file, which only you may read."),
    ] = None,
) -> None:
    """Make a token for a device. The cloud stores only its hash; nobody can see the token again.

    Delete the line of the hash to revoke the token; a running cloud follows within a second.

    \b
    Example:        janus-vit token robot-7 --tokens tokens.txt --out robot-7.token
    On the cloud:   janus-vit cloud --listen 0.0.0.0:50051 --cert cert.pem --key key.pem --tokens tokens.txt
    On the device:  janus-vit device --cloud HOST:50051 --ca ca.pem --token-file robot-7.token
    """
    from janus_vit.cloud.access.tokens import hash_line, new_token

    secret = new_token()
    line = hash_line(name, secret)
    with (
        nullcontext() if out is None else _added(out, secret, os.O_EXCL, "choose the path of a new file"),
        nullcontext() if tokens is None else _added(tokens, line, 0, "check the path"),
    ):
        if out is None:
            say(messages(), "the token, for the device alone:")
            print(secret, flush=True)
        if tokens is None:
            say(messages(), "its hash, for the file of 'cloud --tokens':")
            print(line, flush=True)


@contextmanager
def _added(path: Path, line: str, how: int, remedy: str) -> Iterator[None]:
    """Append a line to a file that, if it is new, only its owner can read. Undone if the `with` block fails.

    Raises:
        InputError: the file cannot be written; it is as it was.
    """
    is_new = not os.path.lexists(path)
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | how, 0o600), "r+b", buffering=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): {remedy}") from error
    with file:
        before_bytes = os.fstat(file.fileno()).st_size
        try:
            _append(file, f"{line}\n".encode("ascii"), path)
            yield
        except BaseException:
            if os.fstat(file.fileno()).st_size > before_bytes:
                file.truncate(before_bytes)
            if is_new:
                path.unlink()
            raise


def _append(file: FileIO, data: bytes, path: Path) -> None:
    """Write in one step, after the end of a last line that may have none.

    Raises:
        InputError: the disk does not take it as a whole.
    """
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes and os.pread(file.fileno(), 1, size_bytes - 1) != b"\n":
        data = b"\n" + data
    try:
        is_whole = file.write(data) == len(data)
    except OSError:
        is_whole = False
    if not is_whole:
        raise InputError(f"{path}: cannot be written whole: free disk space")
