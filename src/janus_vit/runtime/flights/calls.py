"""Requests on their way to the cloud: one that blocks, and several at once. Imports no network library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from janus_vit.errors import InputError, JanusError, TransportError, WireError
from janus_vit.runtime.clock import Clock
from janus_vit.runtime.transport import Transport
from janus_vit.wire.messages import Reply, Request


class Call(Protocol):
    """A request on its way."""

    @property
    def ended_s(self) -> float | None:
        """When the call ended, on the device's clock; None while it has not."""

    def reply(self) -> Reply:
        """Return the reply of a call that has ended.

        Raises:
            TransportError: no answer in time, or a refusal.
            WireError: the reply cannot be read.
        """

    def cancel(self) -> None:
        """Stop waiting for the reply."""


@runtime_checkable
class Calls(Protocol):
    """Starts requests. A transport that can have several of them on their way is one."""

    def start(self, request: Request, timeout_s: float) -> Call:
        """Start sending a frame to the cloud. Errors are those of `Call.reply`."""

    def wait(self, calls: Sequence[Call], timeout_s: float) -> None:
        """Wait until one of the calls has ended, or for that time."""


@dataclass(frozen=True, slots=True)
class EndedCall:
    """A call that has ended.

    Attributes:
        ended_s: see `Call.ended_s`.
        result: the reply, or why there is none.
    """

    ended_s: float
    result: Reply | JanusError

    def reply(self) -> Reply:
        """See `Call.reply`."""
        if isinstance(self.result, JanusError):
            raise self.result
        return self.result

    def cancel(self) -> None:
        """See `Call.cancel`."""


class BlockingCalls:
    """Calls that have ended when they are started, over any transport. The device computes nothing while it waits.

    Args:
        transport: carries the requests.
        clock: the device's clock.
    """

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock

    def start(self, request: Request, timeout_s: float) -> EndedCall:
        """See `Calls.start`."""
        result: Reply | JanusError
        try:
            result = self._transport.infer(request, timeout_s)
        except (TransportError, WireError) as error:
            result = error
        return EndedCall(self._clock.now(), result)

    def wait(self, calls: Sequence[Call], timeout_s: float) -> None:
        """See `Calls.wait`."""


def calls_of(transport: Transport, clock: Clock, in_flight: int) -> Calls:
    """Return the calls of a transport: those that block, if it can have only one request on its way.

    Raises:
        InputError: it can have only one, and more frames are to be in flight.
    """
    if isinstance(transport, Calls):
        return transport
    if in_flight > 1:
        raise InputError("this transport carries one request at a time: set in_flight to 1")
    return BlockingCalls(transport, clock)
