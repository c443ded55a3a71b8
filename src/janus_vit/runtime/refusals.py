"""What the end of a gRPC call without a reply means: gRPC's status as an error of this package."""

from __future__ import annotations

import math
import re

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
_PREAMBLE = re.compile(r"failed to connect to all addresses; last error: [A-Z_]+: (?:ipv[46]:\S+: )?")  # of gRPC
_START = "start one there, or check host and port"
_REMEDIES = {  # by what gRPC says of a handshake of TLS that failed
    "CERTIFICATE_VERIFY_FAILED": "check that its certificate is valid now, and that --ca holds its authority",
    "Hostname Verification": "connect to a host that its certificate names, or renew it with this host",
    "WRONG_VERSION_NUMBER": "it serves without TLS: start it with --cert and --key, or leave out --ca",
}
_CLOSED = "Socket closed"  # by the other side, without a word


def translated(error: grpc.RpcError, address: str) -> TransportError:
    """The error of this package for a call to an address that ended without a reply."""
    code, details = error.code(), printable((error.details() or "")[:_LONGEST_DETAILS])
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"{address} did not answer in time")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return Unreachable(f"{address} cannot be reached ({_PREAMBLE.sub('', details)})")
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


def remedy(error: TransportError, encrypted: bool) -> str:
    """What to do about a cloud that does not answer, for the end of a message.

    Args:
        error: why it does not answer.
        encrypted: whether the device connects with TLS.
    """
    said = str(error)
    for sign, what in _REMEDIES.items():
        if sign in said:
            return what
    if _CLOSED in said:
        hint = "if it asks devices for certificates, add --cert and --key" if encrypted else "if it has TLS, add --ca"
        return f"{_START}; {hint}"
    return _START


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
