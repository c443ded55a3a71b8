"""The device's loop: plan, run, send, observe. Finishes a frame itself whenever the cloud does not."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from janus_vit.errors import InputError, TransportError, WireError
from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction, Transfer
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies import Policy, Situation
from janus_vit.runtime.clock import Clock, WallClock
from janus_vit.runtime.transport import Transport
from janus_vit.runtime.worker import Packed, Worker
from janus_vit.wire.messages import Reply, Request

_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class _Remote:
    """How the hand-over went: a reply, or why there is none."""

    elapsed_s: float
    reply: Reply | None
    reason: str | None


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
        self._cloud_queue_s = 0.0
        self._probe: Future[Transfer] | None = None

    def infer(self, frame: Any) -> Outcome:
        """Answer one frame [H, W, 3] uint8; always gives an answer, whatever the network does.

        Raises:
            InputError: the frame is not an RGB frame of bytes.
        """
        now = self._clock.now
        began_s = now()
        prepared = self._worker.prepare(frame)
        prepared_s = now()
        time_left_s = self._sla_s - (prepared_s - began_s)
        decision = self._policy.choose(Situation(prepared_s, time_left_s, self._cloud_queue_s))
        plan, predicted = decision.plan, decision.predicted
        self._start_probe(decision.probe_bytes)
        decided_s = now()
        state = self._worker.compute(prepared, plan)
        computed_s = now()
        measured = Measured(prepare_s=prepared_s - began_s, plan_s=decided_s - prepared_s)
        transfers, fallback, size_bytes = self._finished_probe(), None, 0
        if plan.is_local:
            answer = self._worker.finish(state)
            measured = replace(measured, device_s=now() - decided_s)
        else:
            packed = self._worker.pack(state, plan)
            packed_s = now()
            size_bytes = len(packed.body)
            time_left_s = began_s + self._sla_s - packed_s
            remote = self._hand_over(plan, predicted, packed, time_left_s)
            measured = replace(measured, device_s=computed_s - decided_s, encode_s=packed_s - computed_s)
            transfers += (self._transfer(remote, size_bytes),)
            fallback = remote.reason
            answer, measured = self._close(remote, state, measured)
        measured = replace(measured, total_s=now() - began_s)
        outcome = Outcome(
            self._frames, began_s, self._sla_s, plan, predicted, measured, size_bytes, answer, fallback, transfers
        )
        self._frames += 1
        self._policy.observe(outcome)
        return outcome

    def close(self) -> None:
        """Let go of the connection."""
        self._transport.close()

    def _hand_over(self, plan: Plan, predicted: Prediction, packed: Packed, time_left_s: float) -> _Remote:
        wait_s = patience_s(predicted, time_left_s)
        request = Request(
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
        began_s = self._clock.now()
        try:
            reply = self._transport.infer(request, wait_s)
        except (TransportError, WireError) as error:
            return _Remote(self._clock.now() - began_s, None, f"{type(error).__name__}: {error}")
        return _Remote(self._clock.now() - began_s, reply, None)

    def _close(self, remote: _Remote, state: Any, measured: Measured) -> tuple[Answer, Measured]:
        reply = remote.reply
        if reply is None:
            began_s = self._clock.now()
            answer = self._worker.finish(state)
            spent = replace(measured, waited_s=remote.elapsed_s, fallback_s=self._clock.now() - began_s)
            return answer, spent
        self._cloud_queue_s = reply.expected_queue_s
        return reply.answer, replace(
            measured,
            send_s=reply.receive_s,
            rtt_s=_round_trip_s(remote.elapsed_s, reply),
            decode_s=reply.decode_s,
            queue_s=reply.queue_s,
            cloud_s=reply.compute_s,
        )

    def _transfer(self, remote: _Remote, size_bytes: int) -> Transfer:
        at_s, reply = self._clock.now(), remote.reply
        if reply is None:
            return Transfer(at_s, size_bytes, remote.elapsed_s, None)
        return Transfer(at_s, size_bytes, reply.receive_s, _round_trip_s(remote.elapsed_s, reply))

    def _start_probe(self, size_bytes: int) -> None:
        if size_bytes and self._probe is None:
            self._probe = self._transport.probe(size_bytes, _PROBE_TIMEOUT_S)

    def _finished_probe(self) -> tuple[Transfer, ...]:
        if self._probe is None or not self._probe.done():
            return ()
        seen, self._probe = self._probe.result(), None
        return (seen,)


def patience_s(predicted: Prediction, time_left_s: float) -> float:
    """How long to wait for the cloud before the device finishes the frame itself.

    While finishing here would still be in time, wait until just before that moment, if the answer is expected by then.
    Otherwise the device cannot save the deadline: wait for it, and past it for as long as finishing would take, which
    costs at most twice the better of the two (the ski-rental rule).
    """
    until_rescue_s = time_left_s - predicted.finish_s
    if until_rescue_s >= 1.2 * predicted.remote_s:
        return until_rescue_s
    return max(time_left_s, predicted.finish_s, 1e-3)


def _round_trip_s(elapsed_s: float, reply: Reply) -> float:
    """What of the elapsed time was neither the payload nor the cloud's work."""
    return max(0.0, elapsed_s - reply.receive_s - reply.decode_s - reply.queue_s - reply.compute_s)
