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
from janus_vit.planning.jsonfile import printable
from janus_vit.planning.price import EnginePrice
from janus_vit.wire.load_messages import parse_price
from janus_vit.wire.rpc import EXPECTED_WAIT, PRICE

_LARGE_REPLY = "larger than max"  # gRPC itself refuses a reply, with the same status
_LONGEST_DETAILS, _LONGEST_NUMBER = 500, 40  # characters


def translated(error: grpc.RpcError, address: str) -> TransportError:
    """The error of this package for a call to an address that ended without a reply."""
    code, details = error.code(), printable((error.details() or "")[:_LONGEST_DETAILS])
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"{address} did not answer in time")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return Unreachable(f"{address} cannot be reached ({details})")
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(f"{address} does not know this device: {details}")
    refusal = f"{address} refused ({code.name.lower()}): {details}"
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return OtherModel(refusal)
    wait_s, price, impossible = _reported_load(error)
    is_full = code is grpc.StatusCode.RESOURCE_EXHAUSTED and _LARGE_REPLY not in details
    refused = TooMany(refusal) if is_full else Rejected(refusal)
    if wait_s is not None:
        refused = Overloaded(refusal, wait_s, price)
    refused.impossible = impossible
    return refused


def _reported_load(error: grpc.RpcError) -> tuple[float | None, EnginePrice | None, tuple[str, ...]]:
    """Expected wait and price of a refusal's trailers, None if missing or impossible, and a sentence on each lie."""
    told = dict(error.trailing_metadata() or ())
    wait_s, price, impossible = None, None, []
    try:
        wait_s = _parse_wait_s(told[EXPECTED_WAIT]) if EXPECTED_WAIT in told else None
    except WireError as lie:
        impossible.append(f"refusal: {lie}")
    try:
        price = parse_price(told[PRICE]) if PRICE in told else None
    except WireError as lie:
        impossible.append(f"refusal: {lie}")
    return wait_s, price, tuple(impossible)


def _parse_wait_s(text: str | bytes) -> float:
    """Parse an expected wait.

    Raises:
        WireError: it is no time from 0 on.
    """
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s < math.inf:
        raise WireError(f"expected wait of {printable(str(text)[:_LONGEST_NUMBER])!r}, which is no time")
    return wait_s
