"""What the end of a gRPC call without a reply means: gRPC's status as an error of this package."""

from __future__ import annotations

import math

import grpc

from janus_vit.errors import (
    DeadlineExceeded,
    OtherModel,
    Overloaded,
    Rejected,
    TooMany,
    TransportError,
    Unauthenticated,
    Unreachable,
    WireError,
)
from janus_vit.planning.price import EnginePrice
from janus_vit.wire.load_messages import parse_price
from janus_vit.wire.rpc import EXPECTED_WAIT, PRICE

_LARGE_REPLY = "larger than max"  # gRPC itself refuses a reply, with the same status
_LONGEST_DETAILS = 500  # characters


def translated(error: grpc.RpcError, address: str) -> TransportError:
    """The error of this package for a call to an address that ended without a reply."""
    code, details = error.code(), _printable(error.details() or "")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"{address} did not answer in time")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return Unreachable(f"{address} cannot be reached ({details})")
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(f"{address} does not know this device: {details}")
    refusal = f"{address} refused ({code.name.lower()}): {details}"
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return OtherModel(refusal)
    if (wait_s := _expected_wait_s(error)) is not None:
        return Overloaded(refusal, wait_s, _price(error))
    is_full = code is grpc.StatusCode.RESOURCE_EXHAUSTED and _LARGE_REPLY not in details
    return TooMany(refusal) if is_full else Rejected(refusal)


def _printable(details: str) -> str:
    """Shorten what a cloud says, and replace what would control a terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in details[:_LONGEST_DETAILS])


def _expected_wait_s(error: grpc.RpcError) -> float | None:
    """Read the expected wait from a refusal's trailers; None if it is missing or impossible."""
    reported = [value for key, value in error.trailing_metadata() or () if key == EXPECTED_WAIT]
    try:
        wait_s = float(reported[0]) if reported else math.nan
    except ValueError:
        return None
    return wait_s if wait_s >= 0 and math.isfinite(wait_s) else None


def _price(error: grpc.RpcError) -> EnginePrice | None:
    """Read the price from a refusal's trailers; None if it is missing or impossible."""
    reported = [value for key, value in error.trailing_metadata() or () if key == PRICE]
    try:
        return parse_price(reported[0]) if reported else None
    except WireError:
        return None
