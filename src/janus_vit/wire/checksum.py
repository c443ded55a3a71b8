"""Checksums of messages: TCP's is weak, so that one changed packet in some ten thousands passes it."""

from __future__ import annotations

from typing import Protocol
from zlib import crc32

from janus_vit.wire.fields import require_field

_TAG = b"\xfd\x7f"  # field 2047, 4 bytes: two bytes that no other field begins with, and rare by chance
_SIZE_BYTES = 6


class _Message(Protocol):
    @property
    def checksum(self) -> int: ...

    def HasField(self, field_name: str) -> bool: ...  # noqa: N802


def with_checksum(data: bytes) -> bytes:
    """Append the field `checksum` to a message of `janus.proto`."""
    return data + _TAG + crc32(data).to_bytes(4, "little")


def check_checksum(message: _Message, data: bytes) -> None:
    """Compare a message with its checksum, if it has one: older peers send none.

    A change may hide the field from the parser, but then its tag is still in its place.

    Args:
        message: the parsed message.
        data: its bytes.

    Raises:
        WireError: the message was changed on its way.
    """
    has_tag = data[-_SIZE_BYTES:-4] == _TAG
    if has_tag or message.HasField("checksum"):
        right = crc32(memoryview(data)[:-_SIZE_BYTES])
        unchanged = has_tag and message.HasField("checksum") and right == message.checksum
        require_field(unchanged, "checksum", "does not match: the message was changed on the way")
