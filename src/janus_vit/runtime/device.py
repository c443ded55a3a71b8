"""The device's loop for one frame: prepare, choose, compute, finish, record. Every frame gets an answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Any

from janus_vit.errors import InputError, Overloaded, Rejected, TransportError, WireError
from janus_vit.planning.outcome import Measured, Outcome, Transfer, patience_s
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.runtime.clock import Clock, Stopwatch, WallClock
from janus_vit.runtime.config import check_sla
from janus_vit.runtime.frame_result import FrameResult
from janus_vit.runtime.known_load import KnownLoad
from janus_vit.runtime.measuring import reason_of, round_trip_s, transfer_of, with_reply
from janus_vit.runtime.transport import Probed, Transport
from janus_vit.runtime.worker import EncodedPayload, Worker
from janus_vit.wire.fields import LONGEST_WAIT_S
from janus_vit.wire.messages import Request

_HOPELESS, _PROMISING = 0.05, 0.5  # probabilities of being in time
_LEAST_TIME_TOLD_S = 1e-3  # a request needs a positive time


class Device:
    """Runs a stream of frames within a latency SLA. Not thread-safe: one frame at a time.

    Args:
        worker: runs the device's part of the model.
        transport: reaches the cloud.
        policy: chooses the plans.
        sla_s: time allowed for each frame.
        name: identifies this device at the cloud.
        clock: source of the time; default: the wall clock.
        probe_timeout_s: how long to wait for a probe of the link.
        on_outcome: called after every frame.

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
        probe_timeout_s: float = 1.0,
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        check_sla(sla_s)
        self._worker = worker
        self._transport = transport
        self._policy = policy
        self._sla_s = sla_s
        self._name = name
        self._clock = clock or WallClock()
        self._probe_timeout_s = probe_timeout_s
        self._on_outcome = on_outcome
        self._frames = 0
        self._load = KnownLoad(name)
        self._probe: Future[Probed] | None = None
        self._last_probe_s: float | None = None
        self._closed = False
        self._process = os.getpid()

    def infer(self, frame: Any, captured_s: float | None = None) -> Outcome:
        """Answer one frame; if the cloud does not answer in time, the device finishes the frame itself.

        Args:
            frame: RGB image [H, W, 3] uint8 of any size, or a clip [frames, H, W, 3] for a model of videos.
            captured_s: time of capture on the device's clock, from which the SLA counts; default: now.

        Raises:
            InputError: the frame has another shape or type, or the device is closed or that of a forked process.
        """
        self._require_open()
        began_s = self._clock.now() if captured_s is None else captured_s
        with Stopwatch(self._clock) as preparing:
            prepared = self._worker.prepare(frame)
        with Stopwatch(self._clock) as choosing:
            situation = self._situation(began_s)
            decision = self._policy.choose(situation)
        self._start_probe(decision.probe_bytes, situation.now_s)
        with Stopwatch(self._clock) as computing:
            state = self._worker.compute(prepared, decision.plan)
        measured = Measured(prepare_s=preparing.seconds, plan_s=choosing.seconds, device_s=computing.seconds)
        probed = self._take_finished_probe()
        result = self._finish(decision, state, measured, deadline_s=began_s + self._sla_s)
        outcome = Outcome(
            frame=self._frames,
            at_s=began_s,
            sla_s=self._sla_s,
            plan=result.plan,
            predicted=decision.predicted,
            measured=replace(result.measured, total_s=self._clock.now() - began_s),
            size_bytes=result.size_bytes,
            answer=result.answer,
            fallback=result.fallback,
            transfers=probed + result.transfers,
            refused=result.refused,
        )
        self._frames += 1
        self._policy.observe(outcome)
        self._on_outcome(outcome)
        return outcome

    def skip_if_hopeless(self, captured_s: float) -> bool:
        """Decide whether to skip a camera's frame, and start the probe that the policy asks for.

        A frame is hopeless if it cannot be in time while a frame captured now can. Running it would only delay the
        next frames. For cameras only, because they soon have a newer frame.

        Args:
            captured_s: time of capture on the device's clock.

        Returns:
            True if the caller should skip the frame.
        """
        return self._chance_in_time(captured_s) < _HOPELESS and self._chance_in_time(self._clock.now()) > _PROMISING

    def close(self) -> None:
        """Close the connection. A frame that runs in another thread is finished on the device."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("the device is closed: connect again")
        if os.getpid() != self._process:  # threads do not survive a fork
            raise InputError("the device was connected in another process: connect in this one")

    def _situation(self, began_s: float) -> Situation:
        self._finished_probe()
        now_s = self._clock.now()
        return Situation(
            now_s=now_s,
            time_left_s=began_s + self._sla_s - now_s,
            cloud_queue_s=self._load.queue_s(now_s),
            last_probe_s=self._last_probe_s,
            price=self._load.price(now_s),
        )

    def _chance_in_time(self, captured_s: float) -> float:
        situation = self._situation(captured_s)
        decision = self._policy.choose(situation)
        self._start_probe(decision.probe_bytes, situation.now_s)
        on_time = decision.predicted.on_time
        return float(decision.predicted.total_s <= situation.time_left_s) if on_time is None else on_time

    def _finish(self, decision: Decision, state: Any, measured: Measured, deadline_s: float) -> FrameResult:
        if decision.plan.is_local:
            return self._finish_locally(decision.plan, state, measured)
        try:
            with Stopwatch(self._clock) as encoding:
                payload = self._worker.encode(state, decision.plan)
        except WireError as error:  # no format can carry these values
            result = self._finish_locally(self._fallback_plan(decision, deadline_s), state, measured)
            return replace(result, fallback=reason_of(error))
        measured = replace(measured, encode_s=encoding.seconds)
        return self._finish_in_cloud(decision, state, payload, measured=measured, deadline_s=deadline_s)

    def _finish_locally(self, plan: Plan, state: Any, measured: Measured) -> FrameResult:
        with Stopwatch(self._clock) as finishing:
            answer = self._worker.finish(state, plan)
        return FrameResult(plan, answer, replace(measured, device_s=measured.device_s + finishing.seconds))

    def _finish_in_cloud(
        self, decision: Decision, state: Any, payload: EncodedPayload, measured: Measured, deadline_s: float
    ) -> FrameResult:
        sent_s, expected = self._clock.now(), decision.predicted
        patience = patience_s(deadline_s - sent_s, expected.finish_s, expected.remote_s, spread=expected.spread)
        wait_s = min(float(patience), LONGEST_WAIT_S)
        size_bytes = len(payload.body)
        try:
            reply = self._transport.infer(self._request(decision, payload, wait_s, deadline_s - sent_s), wait_s)
        except (TransportError, WireError) as error:
            now_s = self._clock.now()
            if isinstance(error, Overloaded):
                self._load.learn(error.expected_wait_s, error.price, now_s)
            failed = transfer_of(error, decision.predicted, now_s, now_s - sent_s, size_bytes)
            return self._fall_back(decision, state, measured, deadline_s=deadline_s, failed=failed, error=error)
        now_s = self._clock.now()
        self._load.learn(reply.expected_queue_s, reply.price, now_s)
        measured = with_reply(measured, reply, now_s - sent_s)
        transfer = Transfer(now_s, size_bytes, send_s=measured.send_s, rtt_s=measured.rtt_s)
        return FrameResult(decision.plan, reply.answer, measured, size_bytes=size_bytes, transfers=(transfer,))

    def _fall_back(
        self,
        decision: Decision,
        state: Any,
        measured: Measured,
        deadline_s: float,
        failed: Transfer,
        error: Exception,
    ) -> FrameResult:
        plan = self._fallback_plan(decision, deadline_s)
        with Stopwatch(self._clock) as finishing:
            answer = self._worker.finish(state, plan)
        return FrameResult(
            plan=plan,
            answer=answer,
            measured=replace(measured, waited_s=failed.send_s + (failed.rtt_s or 0.0), fallback_s=finishing.seconds),
            size_bytes=failed.size_bytes,
            fallback=reason_of(error),
            transfers=(failed,),
            refused=isinstance(error, Rejected),
        )

    def _fallback_plan(self, decision: Decision, deadline_s: float) -> Plan:
        """The plan of a fallback: with the rescue schedule only if the planned one would miss the deadline."""
        expected, left_s = decision.predicted, deadline_s - self._clock.now()
        planned_s = expected.finish_s if expected.unhurried_s is None else expected.unhurried_s
        in_time = (1 + 2 * expected.spread) * planned_s <= left_s
        return replace(decision.plan, rescue=None) if in_time else decision.plan

    def _request(self, decision: Decision, payload: EncodedPayload, wait_s: float, left_s: float) -> Request:
        """The request. Its times are without the round trip, so that the cloud counts no answer that comes too late.

        Args:
            decision: how the frame runs.
            payload: what is sent.
            wait_s: how long the device waits for the answer.
            left_s: time until the frame's deadline.
        """
        plan, rtt_s = decision.plan, round_trip_s(decision.predicted)
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
        )

    def _start_probe(self, size_bytes: int, now_s: float) -> None:
        """Send the probe that a decision asks for, unless another one is still on its way."""
        if size_bytes and self._probe is None:
            self._last_probe_s = now_s
            self._probe = self._transport.probe(size_bytes, self._probe_timeout_s)

    def _finished_probe(self) -> Probed | None:
        """The probe that has ended, if any. The load that it reports counts from now on."""
        if self._probe is None or not self._probe.done():
            return None
        probed = self._probe.result()
        if probed.load is not None:
            self._load.learn(probed.load.expected_wait_s, probed.load.price, probed.transfer.at_s)
        return probed

    def _take_finished_probe(self) -> tuple[Transfer, ...]:
        probed = self._finished_probe()
        if probed is None:
            return ()
        self._probe = None
        return (probed.transfer,)
