"""How a frame ends: on the device, with the cloud's reply, or with a fallback."""

from __future__ import annotations

from dataclasses import replace

from janus_vit.errors import (
    DeadlineExceeded,
    InputError,
    Overloaded,
    Rejected,
    TooMany,
    TransportError,
    WireError,
    described,
)
from janus_vit.planning.outcome import Answer
from janus_vit.planning.plan import Plan
from janus_vit.runtime.clock import Clock, Stopwatch
from janus_vit.runtime.flights.calls import BlockingCalls, Calls, EndedCall
from janus_vit.runtime.flights.flight import Ending, Flight, OwnAnswer, Uplink
from janus_vit.runtime.flights.rescues import wait_for
from janus_vit.runtime.known_load import KnownLoad
from janus_vit.runtime.measuring import round_trip_s, transfer_of
from janus_vit.runtime.worker import EncodedPayload, Worker
from janus_vit.wire.fields import LONGEST_WAIT_S
from janus_vit.wire.messages import Request

_LEAST_TIME_TOLD_S = 1e-3  # a request needs a positive time
_LATE_CALL = 2.0  # how long a call goes on, as a multiple of how long its frame waits for it


class Finisher:
    """Ends frames after their compute.

    Args:
        worker: runs the device's part of the model.
        clock: source of the time.
        load: learns the load that the cloud reports.
        uplink: learns when payloads have left.
        name: identifies this device at the cloud.

    Attributes:
        worked_s: compute of the device on all frames so far.
    """

    def __init__(self, worker: Worker, clock: Clock, load: KnownLoad, uplink: Uplink, name: str) -> None:
        self._worker = worker
        self._clock = clock
        self._load = load
        self._uplink = uplink
        self._name = name
        self.worked_s = 0.0

    def send_or_finish(self, flight: Flight, calls: Calls) -> None:
        """Send a frame, or finish it here if its plan is local or no format can carry its values."""
        plan = flight.decision.plan
        if plan.is_local:
            self._finish_here(flight, plan)
            return
        try:
            with Stopwatch(self._clock) as encoding:
                payload = self._worker.encode(flight.state, plan)
        except WireError as error:
            self._finish_here(flight, self._fallback_plan(flight, flight.deadline_s), described(error))
            return
        self.worked_s += encoding.seconds
        flight.measured = replace(flight.measured, encode_s=encoding.seconds)
        self._send(flight, payload, calls)

    def take_reply(self, flight: Flight) -> None:
        """End a frame if its call has ended with a reply; note the failure if it has failed."""
        if flight.call is None or flight.call.ended_s is None:
            return
        ended_s = flight.call.ended_s
        try:
            reply = flight.call.reply()
        except (TransportError, WireError) as error:
            flight.failure = error, ended_s
            return
        self._load.compare(flight.sent_s, ended_s)
        self._load.learn(reply.expected_queue_s, reply.price, ended_s)
        measured, transfer, waited_s = self._uplink.delivered(flight, reply, ended_s)
        if flight.own is not None:
            measured = replace(measured, discarded_s=flight.own.worked_s)
        flight.ending = Ending(
            flight.decision.plan, reply.answer, measured, ended_s, transfers=(transfer,), uplink_s=waited_s
        )

    def work_on(self, flight: Flight, until_s: float) -> None:
        """Run a step of the device's own answer to a frame in the air; end the frame with it after the last one.

        Args:
            flight: the frame.
            until_s: its deadline, or when another frame may need the device.
        """
        if flight.own is None:
            plan = self._fallback_plan(flight, until_s)
            flight.own = OwnAnswer(plan, self._worker.finish_in_steps(flight.state, plan), self._clock.now())
        own = flight.own
        try:
            with Stopwatch(self._clock) as working:
                answer = next(own.steps)
        except StopIteration:
            flight.own = None
            raise InputError("the worker's steps ended without an answer: yield it after the last one") from None
        except BaseException:
            flight.own = None  # a generator that has raised gives no answer any more: the next attempt begins anew
            raise
        own.worked_s += working.seconds
        own.done += 1
        self.worked_s += working.seconds
        if answer is None:
            return
        if flight.failure is None:
            self.take_reply(flight)
        if flight.ending is None:
            self._fall_back(flight, own, answer)

    def _fall_back(self, flight: Flight, own: OwnAnswer, answer: Answer) -> None:
        """End a frame with the device's own answer."""
        error, failed_s = flight.failure or (DeadlineExceeded("no answer in time"), self._clock.now())
        if isinstance(error, Overloaded):
            self._load.learn(error.expected_wait_s, error.price, failed_s, refused=True)
        if isinstance(error, Rejected):
            self._load.ignore(error.impossible)
        elapsed_s = failed_s - flight.sent_s
        failed = transfer_of(error, flight.decision.predicted, failed_s, elapsed_s, flight.size_bytes)
        flight.ending = Ending(
            plan=own.plan,
            answer=answer,
            measured=replace(flight.measured, waited_s=own.began_s - flight.sent_s, fallback_s=own.worked_s),
            at_s=self._clock.now(),
            fallback=described(error),
            transfers=() if isinstance(error, TooMany) else self._uplink.failed(flight, failed),
            refused=isinstance(error, Rejected),
        )

    def _finish_here(self, flight: Flight, plan: Plan, fallback: str | None = None) -> None:
        with Stopwatch(self._clock) as finishing:
            answer = self._worker.finish(flight.state, plan)
        self.worked_s += finishing.seconds
        measured = flight.measured
        if fallback is None:
            measured = replace(measured, device_s=measured.device_s + finishing.seconds)
        else:
            measured = replace(measured, fallback_s=finishing.seconds)
        flight.ending = Ending(plan, answer, measured, self._clock.now(), fallback)

    def _send(self, flight: Flight, payload: EncodedPayload, calls: Calls) -> None:
        sent_s = self._clock.now()
        flight.wait = wait_for(flight.decision, sent_s, flight.deadline_s)
        waits_alone = isinstance(calls, BlockingCalls) and flight.wait.is_kept
        until_s = flight.wait.begin_s if waits_alone else flight.wait.ends_s
        left_s, wait_s = flight.deadline_s - sent_s, min(until_s - sent_s, LONGEST_WAIT_S)
        timeout_s = wait_s if isinstance(calls, BlockingCalls) else min(_LATE_CALL * wait_s, LONGEST_WAIT_S)
        flight.size_bytes, flight.sent_s, flight.worked_s = len(payload.body), sent_s, self.worked_s
        try:
            flight.call = calls.start(self._request(flight, payload, wait_s, left_s), timeout_s)
        except (TransportError, WireError) as error:
            flight.call = EndedCall(self._clock.now(), error)

    def _fallback_plan(self, flight: Flight, until_s: float) -> Plan:
        """The plan of a fallback: with the rescue schedule only if the planned one would take too long."""
        plan, expected = flight.decision.plan, flight.decision.predicted
        left_s = until_s - self._clock.now()
        planned_s = expected.finish_s if expected.unhurried_s is None else expected.unhurried_s
        in_time = (1 + 2 * expected.spread) * planned_s <= left_s
        return replace(plan, rescue=None) if in_time else plan

    def _request(self, flight: Flight, payload: EncodedPayload, wait_s: float, left_s: float) -> Request:
        """The request. Its times are without the round trip, so that the cloud counts no answer that comes too late.

        Args:
            flight: the frame.
            payload: what is sent.
            wait_s: how long the device waits for the answer.
            left_s: time until the frame's deadline.
        """
        plan, rtt_s = flight.decision.plan, round_trip_s(flight.decision.predicted)
        time_left_s = max(_LEAST_TIME_TOLD_S, wait_s - rtt_s)
        return Request(
            fingerprint=self._worker.fingerprint,
            payload=plan.payload,
            split=plan.split,
            merges=plan.merges[plan.split :],
            tokens=payload.tokens,
            width=payload.width,
            time_left_s=time_left_s,
            device=self._name,
            body=payload.body,
            tap_tokens=payload.tap_tokens,
            in_time_s=min(time_left_s, max(_LEAST_TIME_TOLD_S, left_s - rtt_s)),
            trace=flight.trace,
        )
