"""The device's loop: plan, run, send, observe. Finishes a frame itself whenever the cloud does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar

from janus_vit.errors import InputError, TransportError, WireError
from janus_vit.planning.outcome import Answer, Measured, Outcome, Transfer, patience_s
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.runtime.clock import Clock, WallClock
from janus_vit.runtime.transport import Transport
from janus_vit.runtime.worker import EncodedPayload, Worker
from janus_vit.wire.messages import LONGEST_WAIT_S, Request

_PROBE_TIMEOUT_S = 1.0
_HOPELESS, _PROMISING = 0.05, 0.5  # probabilities to be in time
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Run:
    plan: Plan
    """A frame that is over: its answer and how it came about."""

    answer: Answer
    measured: Measured
    size_bytes: int = 0
    fallback: str | None = None
    transfers: tuple[Transfer, ...] = ()


class Device:
    """Runs a stream of frames within a latency SLA.

    Args:
        worker: runs the device's part of the model. transport: reaches the cloud. policy: chooses plans.
        sla_s: time allowed for each frame. name: tells devices apart at the cloud. clock: the time.

    Raises:
        InputError: the SLA is not a positive time.
    """

    def __init__(
        self,
        worker: Worker,
        transport: Transport,
        policy: Policy,
        sla_s: float,
        name: str = "device",
        clock: Clock | None = None,
    ) -> None:
        if not (math.isfinite(sla_s) and sla_s > 0):
            raise InputError(f"the SLA is {sla_s} s and must be a positive time: give one such as 300ms")
        self._worker = worker
        self._transport = transport
        self._policy = policy
        self._sla_s = sla_s
        self._name = name
        self._clock = clock or WallClock()
        self._frames = 0
        self._cloud_free_s = 0.0  # when the cloud's queue will be empty, as far as it said
        self._probe: Future[Transfer] | None = None

    def infer(self, frame: Any, captured_s: float | None = None) -> Outcome:
        """Answer one frame [H, W, 3] uint8; always gives an answer, whatever the network does.

        Args:
            frame: of any size. captured_s: when it was taken, on the device's clock; the SLA counts from then. Now if
                left out.

        Raises:
            InputError: the frame is not an RGB frame of bytes.
        """
        began_s = self._clock.now() if captured_s is None else captured_s
        prepared, prepare_s = self._timed(lambda: self._worker.prepare(frame))
        decision, plan_s = self._timed(lambda: self._policy.choose(self._situation(began_s)))
        self._start_probe(decision.probe_bytes)
        state, device_s = self._timed(lambda: self._worker.compute(prepared, decision.plan))
        measured = Measured(prepare_s=prepare_s, plan_s=plan_s, device_s=device_s)
        looked = self._finished_probe()
        if decision.plan.is_local:
            run = self._run_locally(state, decision.plan, measured)
        else:
            run = self._run_with_cloud(decision, state, measured, began_s + self._sla_s)
        outcome = Outcome(
            self._frames,
            began_s,
            self._sla_s,
            run.plan,
            decision.predicted,
            replace(run.measured, total_s=self._clock.now() - began_s),
            run.size_bytes,
            run.answer,
            run.fallback,
            looked + run.transfers,
        )
        self._frames += 1
        self._policy.observe(outcome)
        return outcome

    def skips(self, captured_s: float) -> bool:
        """Whether a frame that was taken then is better left out: it cannot be in time, but one that is taken now can.

        To run it all the same would make the frames behind it late as well. For cameras, which have a newer frame soon.
        """
        return self._promise(captured_s) < _HOPELESS and self._promise(self._clock.now()) > _PROMISING

    def _promise(self, captured_s: float) -> float:
        """Probability that a frame taken then would be in time."""
        situation = self._situation(captured_s)
        decision = self._policy.choose(situation)
        self._start_probe(decision.probe_bytes)
        on_time = decision.predicted.on_time
        return float(decision.predicted.total_s <= situation.time_left_s) if on_time is None else on_time

    def close(self) -> None:
        """Let go of the connection."""
        self._transport.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _situation(self, began_s: float) -> Situation:
        now_s = self._clock.now()
        return Situation(now_s, began_s + self._sla_s - now_s, max(0.0, self._cloud_free_s - now_s))

    def _run_locally(self, state: Any, plan: Plan, measured: Measured) -> _Run:
        answer, head_s = self._timed(lambda: self._worker.finish(state, plan))
        return _Run(plan, answer, replace(measured, device_s=measured.device_s + head_s))

    def _finishing_plan(self, decision: Decision, deadline_s: float) -> Plan:
        """How the device finishes the frame itself: in a hurry only if it would be late else."""
        expected, left_s = decision.predicted, deadline_s - self._clock.now()
        calm_s = expected.finish_s if expected.unhurried_s is None else expected.unhurried_s
        in_time = (1 + 2 * expected.spread) * calm_s <= left_s
        return replace(decision.plan, rescue=None) if in_time else decision.plan

    def _run_with_cloud(self, decision: Decision, state: Any, measured: Measured, deadline_s: float) -> _Run:
        try:
            packed, encode_s = self._timed(lambda: self._worker.encode(state, decision.plan))
        except WireError as error:  # an activation that no format can carry
            run = self._run_locally(state, self._finishing_plan(decision, deadline_s), measured)
            return replace(run, fallback=f"{type(error).__name__}: {error}")
        measured = replace(measured, encode_s=encode_s)
        size_bytes = len(packed.body)
        sent_s = self._clock.now()
        expected = decision.predicted
        patience = patience_s(deadline_s - sent_s, expected.finish_s, expected.remote_s, expected.spread)
        wait_s = min(float(patience), LONGEST_WAIT_S)
        try:
            reply = self._transport.infer(self._request(decision.plan, packed, wait_s), wait_s)
        except (TransportError, WireError) as error:
            now_s = self._clock.now()
            gave_up = Transfer(now_s, size_bytes, now_s - sent_s, None)
            plan = self._finishing_plan(decision, deadline_s)
            answer, fallback_s = self._timed(lambda: self._worker.finish(state, plan))
            measured = replace(measured, waited_s=gave_up.send_s, fallback_s=fallback_s)
            return _Run(plan, answer, measured, size_bytes, f"{type(error).__name__}: {error}", (gave_up,))
        now_s = self._clock.now()
        work_s = reply.decode_s + reply.queue_s + reply.compute_s
        # What of the elapsed time was neither the payload nor the cloud's work is the round trip.
        rtt_s = max(0.0, now_s - sent_s - reply.receive_s - work_s)
        self._cloud_free_s = now_s + reply.expected_queue_s
        measured = replace(
            measured,
            send_s=reply.receive_s,
            rtt_s=rtt_s,
            decode_s=reply.decode_s,
            queue_s=reply.queue_s,
            cloud_s=reply.compute_s,
        )
        seen = Transfer(now_s, size_bytes, reply.receive_s, rtt_s)
        return _Run(decision.plan, reply.answer, measured, size_bytes, None, (seen,))

    def _request(self, plan: Plan, packed: EncodedPayload, wait_s: float) -> Request:
        return Request(
            self._worker.fingerprint,
            plan.payload,
            plan.split,
            plan.merges[plan.split :],
            packed.tokens,
            packed.width,
            wait_s,
            self._name,
            packed.body,
        )

    def _timed(self, part: Callable[[], Result]) -> tuple[Result, float]:
        began_s = self._clock.now()
        result = part()
        return result, self._clock.now() - began_s

    def _start_probe(self, size_bytes: int) -> None:
        if size_bytes and self._probe is None:
            self._probe = self._transport.probe(size_bytes, _PROBE_TIMEOUT_S)

    def _finished_probe(self) -> tuple[Transfer, ...]:
        if self._probe is None or not self._probe.done():
            return ()
        seen, self._probe = self._probe.result(), None
        return (seen,)
