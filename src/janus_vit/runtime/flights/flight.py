"""A frame in flight, and the link that several of them share. Pure numbers, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from janus_vit.errors import JanusError
from janus_vit.planning.outcome import Answer, Measured, Outcome, Overlap, Transfer
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision
from janus_vit.runtime.clock import CLOSEST_S
from janus_vit.runtime.flights.calls import Call
from janus_vit.runtime.flights.rescues import Wait, last_moments, step_s, steps_of, with_held
from janus_vit.runtime.measuring import round_trip_s, with_reply
from janus_vit.wire.messages import Reply

_FIRST = 2.0  # the first step of an own answer, as a multiple of the mean one, at most
_FASTEST = 0.5  # of the expected sending time: what an overlapped transfer may show at most


@dataclass(frozen=True, slots=True)
class Ending:
    """How a frame ended.

    Attributes:
        plan: the plan that ran. After a fallback it has a rescue schedule only if the device used it.
        answer: the answer.
        measured: measured times, without the total.
        at_s: when the answer was there, on the device's clock.
        fallback: why the device finished the frame itself; None if it did not have to.
        transfers: observation of the link from the frame's own transfer; empty if there was none.
        refused: whether the cloud refused the frame.
        uplink_s: time that its payload waited for those of earlier frames.
    """

    plan: Plan
    answer: Answer
    measured: Measured
    at_s: float
    fallback: str | None = None
    transfers: tuple[Transfer, ...] = ()
    refused: bool = False
    uplink_s: float = 0.0


@dataclass(slots=True)
class OwnAnswer:
    """The device's own answer to a frame in the air, on which it works a step at a time.

    Attributes:
        plan: how the frame is finished.
        steps: see `Worker.finish_in_steps`.
        began_s: when the first step began, on the device's clock.
        worked_s: time of the steps so far.
        done: number of the steps so far.
    """

    plan: Plan
    steps: Iterator[Answer | None]
    began_s: float
    worked_s: float = 0.0
    done: int = 0


@dataclass(slots=True)
class Flight:
    """A frame from its compute on the device to the delivery of its answer.

    Attributes:
        frame: number of the frame in the stream.
        began_s: time of capture, on the device's clock.
        deadline_s: when its answer is late.
        decision: how it runs.
        state: what the worker's `compute` returned.
        measured: times so far.
        deliver: called with the outcome.
        overlap: what it shared with earlier frames when it was sent.
        probed: transfers of probes that ended before it was sent.
        trace: see `Outcome.trace`.
        size_bytes: payload bytes that were sent.
        sent_s: when it was sent.
        wait: how long its reply may be waited for; None if it stays on the device.
        worked_s: compute of the device on all frames, when this one was sent.
        call: its request; None if it stays on the device.
        failure: why its call failed, and when; None if it has not.
        own: the device's own answer; None if it has not begun.
        ending: how it ended; None while it has not.
    """

    frame: int
    began_s: float
    deadline_s: float
    decision: Decision
    state: Any
    measured: Measured
    deliver: Callable[[Outcome], None]
    overlap: Overlap
    probed: tuple[Transfer, ...]
    trace: str | None = None
    size_bytes: int = 0
    sent_s: float = 0.0
    wait: Wait | None = None
    worked_s: float = 0.0
    call: Call | None = None
    failure: tuple[JanusError, float] | None = None
    own: OwnAnswer | None = None
    ending: Ending | None = None

    @property
    def in_the_air(self) -> bool:
        """Whether its reply is still expected."""
        return self.call is not None and self.failure is None and self.ending is None

    @property
    def send_s(self) -> float:
        """Expected time to send its payload alone."""
        return max(0.0, self.decision.predicted.transfer_s - round_trip_s(self.decision.predicted))

    @property
    def step_s(self) -> float:
        """Time of the next step of the device's own answer, one block, at most: later blocks have fewer tokens."""
        return self.own.worked_s / self.own.done if self.own and self.own.done else _FIRST * step_s(self.decision)

    @property
    def expected_s(self) -> float:
        """Expected time that the device still needs for its own answer; at its pace so far if that is faster.

        The first steps may be the longest, so their pace alone would expect too much.
        """
        done, worked_s = (self.own.done, self.own.worked_s) if self.own else (0, 0.0)
        at_pace_s = (steps_of(self.decision) - done) * self.step_s
        expected_s = self.decision.predicted.finish_s - worked_s
        return min(at_pace_s, expected_s) if expected_s > 0 else at_pace_s

    def rate_at_most_mbps(self, now_s: float) -> float:
        """Upper bound of the uplink's rate, in 10^6 bit/s, if its reply is overdue; otherwise infinite."""
        if self.wait is None or now_s <= self.wait.answer_s:
            return math.inf
        return self.size_bytes * 8e-6 / (now_s - self.wait.answer_s + self.send_s)

    def is_in_doubt(self, now_s: float) -> bool:
        """Whether its reply has failed, is overdue, or was never sure to come in time."""
        return self.failure is not None or self.wait is None or not self.wait.is_sure(now_s)

    @property
    def begins_s(self) -> float:
        """When the device may begin its own answer; never if the frame stays here."""
        return math.inf if self.wait is None else self.wait.begin_s

    @property
    def unfinished_s(self) -> float:
        """Longest time that the device still needs for its own answer."""
        if self.wait is None or self.ending is not None:
            return 0.0
        return max(0.0, self.wait.rescue_s - (self.own.worked_s if self.own else 0.0))


def in_the_air(flights: Iterable[Flight]) -> list[Flight]:
    """The flights whose replies are still expected."""
    return [flight for flight in flights if flight.in_the_air]


def waits_of(flights: Iterable[Flight]) -> list[Wait]:
    """The waits for frames without an answer, less the work that is done, in the order of their deadlines."""
    return [_left(flight.wait, flight) for flight in _unanswered(flights) if flight.wait is not None]


def _left(wait: Wait, flight: Flight) -> Wait:
    if flight.own is None:
        return wait
    return replace(wait, begin_s=wait.begin_s + flight.own.worked_s, rescue_s=flight.unfinished_s)


def next_begun(flights: Iterable[Flight], last: Wait | None, now_s: float) -> tuple[Flight, float] | None:
    """The frame that the device has to work on now, or may because nothing else needs it; and until when it may.

    First those whose call failed and those that time is kept for, the most urgent one first; then the others, unless a
    step would end after the last moment of one that time is kept for.

    Args:
        flights: not delivered.
        last: of a frame that waits for them; None if there is none.
        now_s: current time.
    """
    unanswered = _unanswered(flights)
    moments = _moments(unanswered, last, now_s)
    for index, flight in enumerate(unanswered):
        may_begin = flight.failure is not None and now_s + flight.step_s <= min(moments[:index], default=math.inf)
        if may_begin or now_s >= moments[index] - CLOSEST_S:
            return flight, min([flight.deadline_s, *moments[index + 1 :]])
    hopeful = [flight for flight in unanswered if flight.own is not None or now_s >= flight.begins_s - CLOSEST_S]
    if not hopeful or now_s + hopeful[0].step_s > min(moments[: len(unanswered)]):
        return None
    return hopeful[0], min(hopeful[0].deadline_s, *moments)


def next_moment_s(flights: Iterable[Flight], last: Wait | None, now_s: float) -> float:
    """When the device has to look after frames in the air again, unless a reply comes; infinite if never."""
    unanswered = _unanswered(flights)
    begins_s = [flight.begins_s for flight in unanswered if flight.begins_s > now_s]
    return min([*_moments(unanswered, last, now_s)[: len(unanswered)], *begins_s], default=math.inf)


def _moments(unanswered: Sequence[Flight], last: Wait | None, now_s: float) -> list[float]:
    """The last moment of each flight, and that of the held frame if it counts."""
    return last_moments(with_held(waits_of(unanswered), last, now_s))


def _unanswered(flights: Iterable[Flight]) -> list[Flight]:
    sent = [flight for flight in flights if flight.wait is not None and flight.ending is None]
    return sorted(sent, key=lambda flight: flight.deadline_s)


class Uplink:
    """When the payloads of the frames in flight have been sent.

    A reply tells when its own payload had left: elapsed time less the cloud's time and the round trip. A payload that
    waited for an earlier one was sent only from then on; its reply alone would show a rate that is too low.

    Attributes:
        is_silent: whether the last call that ended brought no reply.
    """

    def __init__(self) -> None:
        self._left_s = -math.inf  # when the last payload whose reply came had left the device
        self.is_silent = False
        self._failed_s = -math.inf  # when the last call failed that told something

    def backlog(self, flights: Iterable[Flight], now_s: float) -> tuple[float, float]:
        """What a new frame finds before it, if these flights take as long as predicted.

        Args:
            flights: in the air, in the order of sending.
            now_s: current time.

        Returns:
            Time until their payloads are sent, and how long the new frame would then wait for them in the cloud.
        """
        link_s, cloud_s, half_s = self._left_s, now_s, 0.0
        for flight in flights:
            expected = flight.decision.predicted
            half_s = round_trip_s(expected) / 2
            link_s = max(link_s, flight.sent_s) + flight.send_s
            cloud_s = max(cloud_s, link_s + half_s) + expected.decode_s + expected.cloud_s
        busy_s = max(0.0, link_s - now_s)
        return busy_s, max(0.0, cloud_s - now_s - busy_s - half_s)

    def delivered(self, flight: Flight, reply: Reply, ended_s: float) -> tuple[Measured, Transfer, float]:
        """Times of a flight whose reply came, its transfer, and how long it waited for earlier payloads."""
        self.is_silent, elapsed_s = False, ended_s - flight.sent_s
        measured = with_reply(flight.measured, reply, elapsed_s, flight.size_bytes)
        waited_s = max(0.0, self._left_s - flight.sent_s)
        own_rtt_s = round_trip_s(flight.decision.predicted)
        server_s = reply.decode_s + reply.queue_s + reply.compute_s
        left_s = flight.sent_s + reply.receive_s
        if waited_s and own_rtt_s:
            left_s = ended_s - server_s - own_rtt_s
            send_s = max(_FASTEST * flight.send_s, left_s - self._left_s)
            rtt_s = max(0.0, elapsed_s - waited_s - send_s - server_s)
            measured = replace(measured, send_s=send_s, rtt_s=rtt_s)
            transfer = Transfer(ended_s, flight.size_bytes, send_s=send_s, rtt_s=own_rtt_s)
        else:
            transfer = Transfer(ended_s, flight.size_bytes, send_s=measured.send_s, rtt_s=measured.rtt_s)
        self._left_s = max(self._left_s, left_s)
        return measured, transfer, waited_s

    def failed(self, flight: Flight, transfer: Transfer) -> tuple[Transfer, ...]:
        """What a failed call says about the link: nothing new, if it was sent before an earlier one had failed."""
        self.is_silent = not transfer.delivered
        if flight.sent_s < self._failed_s:
            return ()
        self._failed_s = transfer.at_s
        return (transfer,)
