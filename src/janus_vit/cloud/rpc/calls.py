"""One gRPC call: time its message, check its deadline, turn an error into a status. Knows no model and no engine."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from janus_vit.errors import (
    DeadlineExceeded,
    JanusError,
    ModelMismatch,
    Overloaded,
    Rejected,
    Unauthenticated,
    Unreachable,
    WireError,
)
from janus_vit.wire.fields import LONGEST_WAIT_S
from janus_vit.wire.load_messages import parse_probe, serialise_price
from janus_vit.wire.rpc import EXPECTED_WAIT, PRICE, STREAM
from janus_vit.wire.stream_report import StreamReport, parse_stream_report

_LOG = logging.getLogger("janus_vit.cloud")
_STATUS = (
    (ModelMismatch, grpc.StatusCode.FAILED_PRECONDITION),
    (WireError, grpc.StatusCode.INVALID_ARGUMENT),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (Rejected, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Unreachable, grpc.StatusCode.UNAVAILABLE),
)
Context: TypeAlias = Any  # grpc.aio.ServicerContext, which is not typed


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call ends that has no answer.

    Attributes:
        status: status code of the call.
        details: one sentence for the device.
        trailers: trailing metadata.
    """

    status: grpc.StatusCode
    details: str
    trailers: tuple[tuple[str, str | bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call ends.

    Attributes:
        body: the serialised answer; empty after a failure.
        failure: why there is no answer; None if there is one.
    """

    body: bytes
    failure: Failure | None = None


class CallFailed(Exception):
    """Another process answered a call with a failure.

    Attributes:
        failure: how the call ends.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.details)
        self.failure = failure


async def timed_message(context: Context, limit_s: float = LONGEST_WAIT_S) -> tuple[bytes, float]:
    """Read the stream's only message; return it with the time from the call's headers to the message's last byte.

    Args:
        context: context of the call.
        limit_s: longest time that the message may take.

    Raises:
        WireError: the call has no deadline within a minute, or no message in time.
    """
    headers_s = time.perf_counter()
    left_s = context.time_remaining()
    if left_s is None or left_s > LONGEST_WAIT_S + 1:  # an idle stream would stay open forever
        raise WireError(f"the call has no deadline within {LONGEST_WAIT_S:.0f} s: set one")
    message = await read_within(context, limit_s)
    return message, time.perf_counter() - headers_s


async def read_within(context: Context, limit_s: float) -> bytes:
    """Read the stream's only message.

    Raises:
        WireError: there is none, or it does not arrive within `limit_s` seconds.
    """
    task, expired = asyncio.current_task(), False
    assert task is not None, "gRPC runs each call in a task"

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(limit_s, expire)
    try:
        message = await context.read()
    except asyncio.CancelledError:
        if not expired:  # the device disconnected
            raise
        raise WireError(f"the message did not arrive within {limit_s:.1f} s") from None
    finally:
        timer.cancel()
    if message is grpc.aio.EOF:
        raise WireError("the call ended without a message")
    return bytes(message)


async def timed_probe(context: Context, limit_s: float = LONGEST_WAIT_S) -> tuple[int, float]:
    """Read a probe, and return its number and how long it took to arrive, in seconds.

    Args:
        context: context of the call.
        limit_s: longest time that the message may take.

    Raises:
        WireError: see `timed_message`; or the message is not a probe.
    """
    message, receive_s = await timed_message(context, limit_s)
    return parse_probe(message), receive_s


def stream_report(context: Context) -> StreamReport | None:
    """The report that came with a call; None if there is none, or none that this cloud can read."""
    reports = [value for key, value in context.invocation_metadata() or () if key == STREAM]
    try:
        return parse_stream_report(reports[0]) if reports else None
    except WireError as error:
        _LOG.info("report ignored: %s", error)
        return None


def time_left_s(context: Context) -> float:
    """Time until the call's deadline, which counts from its arrival in this process; infinite if it has none.

    A request that waited for a busy event loop has less time than its message says, and one whose device has given up
    must not be decoded.

    Raises:
        DeadlineExceeded: no time is left.
    """
    left_s: float | None = context.time_remaining()
    if left_s is None:
        return math.inf
    if left_s <= 0:
        raise DeadlineExceeded("the deadline passed before the request was read")
    return left_s


async def result_of(answer: Awaitable[bytes]) -> CallResult:
    """Wait for an answer. An error becomes a failure; one that is not ours is a bug: its details stay in the log."""
    try:
        return CallResult(await answer)
    except CallFailed as failed:
        return CallResult(b"", failed.failure)
    except JanusError as error:
        _LOG.info("refused: %s", error)
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return CallResult(b"", Failure(status, str(error), _trailers(error)))
    except Exception:
        _LOG.exception("a request failed")
        details = "the cloud failed on this request; its log says why"
        return CallResult(b"", Failure(grpc.StatusCode.INTERNAL, details))


async def end_call(context: Context, result: CallResult) -> bytes:
    """Return the answer to send, or end the call with the status of the failure.

    gRPC may have ended the call meanwhile, as it does if a message is too large. Then nobody hears of the failure, and
    gRPC would log a traceback for whatever strangers send.
    """
    failure = result.failure
    if failure is not None:
        try:
            await context.abort(failure.status, failure.details, failure.trailers)
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None
    return result.body


def _trailers(error: JanusError) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata of a refusal for lack of time: the expected wait and, if known, the price."""
    if not isinstance(error, Overloaded):
        return ()
    wait = (EXPECTED_WAIT, f"{error.expected_wait_s:.6f}")
    return (wait,) if error.price is None else (wait, (PRICE, serialise_price(error.price)))
