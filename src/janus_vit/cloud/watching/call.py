"""One call: who sent it, and how far its request has come."""

from __future__ import annotations

import time

from janus_vit.cloud.access.callers import Caller
from janus_vit.errors import DeadlineExceeded, Unreachable
from janus_vit.scheduling.job import BatchRun
from janus_vit.tracing.request_spans import RequestTrace
from janus_vit.tracing.trace_context import TraceContext

_LONGEST_NAME = 64  # characters


class Call:
    """A call whose request has arrived.

    Args:
        caller: who sent it; None believes the name in the request.
        parent: the device's span, if the request is traced.

    Attributes:
        arrived_s: when the request had arrived, on the clock of `time.perf_counter`.
        ended: set to True when the device disconnects.
        decode_s: set to the CPU time that checks and decoding took.
        device: set to the name of the device.
        decoded_s: set to the time at which the request was decoded.
        finished_s: set to the time at which its result was known.
        batches: set to the batches in which it ran.
    """

    def __init__(self, caller: Caller | None = None, parent: TraceContext | None = None) -> None:
        self._caller = caller
        self._parent = parent
        self.arrived_s = time.perf_counter()
        self.ended = False
        self.decode_s = 0.0
        self.device = ""
        self.decoded_s: float | None = None
        self.finished_s: float | None = None
        self.batches: tuple[BatchRun, ...] = ()

    def client(self, claimed: str) -> str:
        """Name for limits and fair shares."""
        return claimed if self._caller is None else self._caller.name

    def shown(self, claimed: str) -> str:
        """Name for people: the proven one, or the one that an anonymous device claims, of characters that print.

        A claimed name may belong to a request that is refused because of its name, which is counted and shown, too.
        """
        if self._caller is not None and self._caller.proven:
            return self._caller.name
        return "".join(letter if letter.isprintable() else "\ufffd" for letter in claimed[:_LONGEST_NAME])

    def check(self, deadline_s: float) -> None:
        """Require that somebody still waits for the answer.

        Raises:
            Unreachable: the call has ended.
            DeadlineExceeded: the deadline has passed.
        """
        if self.ended:
            raise Unreachable("the device disconnected while its request was decoded")
        if time.perf_counter() > deadline_s:
            raise DeadlineExceeded("the deadline passed while the request was decoded")

    def trace(self, receive_s: float, problem: str | None) -> RequestTrace | None:
        """What happened to the request until now, when its call ends; None if it is not traced.

        Args:
            receive_s: how long it took to arrive.
            problem: why there is no answer; None if there is one.
        """
        if self._parent is None:
            return None
        ended_s = time.perf_counter()
        return RequestTrace(
            self._parent,
            self.device,
            receive_s,
            self.arrived_s,
            ended_s,
            self.decoded_s,
            self.finished_s,
            self.batches,
            problem,
        )
