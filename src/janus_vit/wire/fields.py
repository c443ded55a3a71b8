"""Parse protobuf messages and check their fields. Knows no message in particular."""

from __future__ import annotations

import math
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as AnyMessage

from janus_vit.errors import WireError

Message = TypeVar("Message", bound=AnyMessage)
LONGEST_WAIT_S = 60.0  # a request must not occupy the cloud for longer


def parse(kind: type[Message], data: bytes) -> Message:
    """Parse bytes as a protobuf message of a kind.

    Raises:
        WireError: the bytes are not such a message.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        name = kind.DESCRIPTOR.name
        raise WireError(f"not a janus.v1 {name} message: is the other end a janus-vit of this version?") from error


def require_field(holds: bool, field: str, problem: str) -> None:
    """Refuse a message unless a condition holds.

    Args:
        holds: the condition.
        field: name of the field in janus.proto.
        problem: what is wrong with the field and what was expected.

    Raises:
        WireError: the condition does not hold.
    """
    if not holds:
        raise WireError(f"field {field} {problem}")


def require_duration(field: str, seconds: float) -> None:
    """Refuse a message whose duration is negative or not finite.

    Raises:
        WireError: it is.
    """
    require_field(math.isfinite(seconds) and seconds >= 0, field, f"is {seconds}, expected seconds of at least 0")
