"""The device's loop: prepare, choose, compute, finish, deliver. Every frame gets an answer, in the order of the frames.

While a frame is in the air, the device may compute the next ones. It does so only if it could still finish all of them
here in time, one after the other, so that no frame is late because of another one.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Measured, Outcome, Overlap
from janus_vit.planning.policies.base import Decision, Policy
from janus_vit.runtime.clock import Clock, Stopwatch, WallClock
from janus_vit.runtime.config import check_sla
from janus_vit.runtime.flights.calls import calls_of
from janus_vit.runtime.flights.finishing import Finisher
from janus_vit.runtime.flights.flight import Flight, Uplink, in_the_air, next_begun, next_moment_s
from janus_vit.runtime.flights.late_calls import LateCalls
from janus_vit.runtime.flights.limit import FlightLimit
from janus_vit.runtime.flights.outlook import Outlook
from janus_vit.runtime.flights.probes import Probes
from janus_vit.runtime.flights.rescues import Wait, held
from janus_vit.runtime.known_load import KnownLoad
from janus_vit.runtime.measuring import chance
from janus_vit.runtime.transport import Transport
from janus_vit.runtime.worker import Worker


class Device:
    """Runs a stream of frames within a latency SLA. Not thread-safe: one thread calls it.

    Args:
        worker: runs the device's part of the model.
        transport: reaches the cloud.
        policy: chooses the plans.
        sla_s: time allowed for each frame.
        name: identifies this device at the cloud.
        clock: source of the time; default: the wall clock.
        probe_timeout_s: how long to wait for a probe of the link.
        on_outcome: called after every frame.
        in_flight: number of frames that `submit` lets run at once; fewer while the cloud refuses so many.
        trace: called before every frame; returns its trace, see `Outcome.trace`.

    Raises:
        InputError: the SLA is not a positive time, or the transport cannot have several requests on their way.
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
        in_flight: int = 1,
        trace: Callable[[], str | None] = lambda: None,
    ) -> None:
        check_sla(sla_s)
        self._worker = worker
        self._transport = transport
        self._policy = policy
        self._sla_s = sla_s
        self._clock = clock or WallClock()
        self._on_outcome = on_outcome
        self._limit = FlightLimit(in_flight)
        self._trace = trace
        self._calls = calls_of(transport, self._clock, in_flight)
        self._frames = 0
        self._flights: deque[Flight] = deque()  # frames whose answers are not delivered, in order
        self._impossible: deque[str] = deque(maxlen=8)  # sentences for the next outcome
        self._load = KnownLoad(name, self._impossible.append)
        self._uplink = Uplink()
        self._probes = Probes(transport, self._load, probe_timeout_s, self._impossible.append)
        self._outlook = Outlook(policy, self._flights, self._uplink, self._probes, self._load, sla_s, self._clock)
        self._late_calls = LateCalls(self._load, self._uplink, self._impossible.append)
        self._finisher = Finisher(worker, self._clock, self._load, self._uplink, name)
        self._skipped = False  # the last frame of a camera
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
        delivered: list[Outcome] = []
        self._begin(frame, captured_s, delivered.append)
        self.drain()
        return delivered[0]

    def submit(self, frame: Any, captured_s: float | None, deliver: Callable[[Outcome], None]) -> None:
        """Begin one frame, and return as soon as there is room for the next one.

        Args:
            frame: as in `infer`.
            captured_s: as in `infer`.
            deliver: called with the outcome, here or in a later call of `submit`, `attend` or `drain`; outcomes come
                in the order of their frames.

        Raises:
            InputError: as in `infer`.
        """
        self._begin(frame, captured_s, deliver)
        self._take_replies()
        while self._flights and not self._has_room():
            self._attend_once(self._outlook.sent_s())

    def attend(self, until_s: float) -> bool:
        """Deliver and finish the frames in flight until a time, or until none is left. Return whether some are left."""
        self._take_replies()
        while self._flights and self._clock.now() < until_s:
            self._attend_once(until_s)
        return bool(self._flights)

    def drain(self) -> None:
        """Wait until every frame has been delivered."""
        self.attend(math.inf)

    def skip_if_hopeless(self, captured_s: float) -> bool:
        """Decide whether to skip a camera's frame, and start the probe that the policy asks for.

        A frame is hopeless if it cannot be in time while a frame captured now can. Running it would only delay the
        next frames. For cameras only, because they soon have a newer frame; never twice in a row, because frames of a
        slow camera are all old.

        Args:
            captured_s: time of capture on the device's clock.

        Returns:
            True if the caller should skip the frame.
        """
        self._take_replies()
        decision, situation = self._outlook.decide(self._clock.now())
        self._probes.start(decision.probe_bytes, situation.now_s)
        self._skipped = not self._skipped and self._outlook.is_hopeless(captured_s, fresh=chance(decision, situation))
        return self._skipped

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

    def _begin(self, frame: Any, captured_s: float | None, deliver: Callable[[Outcome], None]) -> None:
        """Run a frame until it is sent or finished."""
        self._require_open()
        began_s = self._clock.now() if captured_s is None else captured_s
        with Stopwatch(self._clock) as preparing:
            prepared = self._worker.prepare(frame)
        decision, plan_s, held_s = self._choose(began_s)
        with Stopwatch(self._clock) as computing:
            state = self._worker.compute(prepared, decision.plan)
        self._finisher.worked_s += computing.seconds
        flight = Flight(
            frame=self._frames,
            began_s=began_s,
            deadline_s=began_s + self._sla_s,
            decision=decision,
            state=state,
            measured=Measured(prepare_s=preparing.seconds, plan_s=plan_s, device_s=computing.seconds),
            deliver=deliver,
            overlap=Overlap(others=len(self._flights), held_s=held_s),
            probed=self._late_calls.take() + self._probes.take_finished(),
            trace=self._trace(),
        )
        self._finisher.send_or_finish(flight, self._calls)
        self._frames += 1
        self._flights.append(flight)

    def _has_room(self) -> bool:
        return len(self._flights) < self._limit.frames and not self._is_needed() and self._outlook.has_room()

    def _is_needed(self) -> bool:
        """Whether the device works on a frame that may need its answer in time, so that planning would delay it."""
        now_s = self._clock.now()
        begun = next_begun(self._flights, None, now_s)
        return begun is not None and begun[0].is_in_doubt(now_s) and now_s + begun[0].expected_s <= begun[0].deadline_s

    def _choose(self, began_s: float) -> tuple[Decision, float, float]:
        """Choose a plan that leaves the device free when earlier frames may need it; wait for them if it cannot be.

        Returns:
            The decision, the time that it took, and the time waited for earlier frames.
        """
        held_s = 0.0
        while True:
            self._take_replies()
            with Stopwatch(self._clock) as choosing:
                decision, situation = self._outlook.decide(began_s)
            if self._outlook.can_begin(decision, began_s):
                self._probes.start(decision.probe_bytes, situation.now_s)
                return decision, choosing.seconds, held_s
            with Stopwatch(self._clock) as holding:
                waiting = held(decision, began_s + self._sla_s)
                self._attend_once(math.inf, waiting)
                while self._is_needed():
                    self._attend_once(math.inf, waiting)
            held_s += holding.seconds

    def _attend_once(self, until_s: float, last: Wait | None = None) -> None:
        """Work a step on a frame in the air, or wait for the next reply, or the next frame whose time is up.

        Args:
            until_s: the time to wait for, at most.
            last: of a frame that waits for those in the air; None if there is none.
        """
        now_s = self._clock.now()
        begun = next_begun(self._flights, last, now_s)
        reply_s = math.inf if begun is None else self._due_during_step(begun[0], now_s)
        if begun is not None and reply_s == math.inf:
            self._finisher.work_on(*begun)
            if begun[0].ending is not None and begun[0].ending.fallback is not None:
                self._limit.failed(begun[0])
        else:
            moment_s = next_moment_s(self._flights, last, now_s) if begun is None else reply_s
            calls = [flight.call for flight in in_the_air(self._flights) if flight.call is not None]
            self._calls.wait(calls, max(0.0, min(until_s, moment_s) - now_s))
        self._take_replies()

    def _due_during_step(self, begun: Flight, now_s: float) -> float:
        """The first deadline during a step for a frame that is late anyway: a reply may come just before it.

        Later frames do not count, since they are delivered after this one.
        """
        if now_s + begun.expected_s <= begun.deadline_s:
            return math.inf
        due_s = [flight.deadline_s for flight in in_the_air(self._flights) if flight.frame <= begun.frame]
        return min((each for each in due_s if now_s < each < now_s + begun.step_s), default=math.inf)

    def _take_replies(self) -> None:
        for flight in in_the_air(self._flights):
            self._finisher.take_reply(flight)
        while self._flights and self._flights[0].ending is not None:
            self._deliver(self._flights.popleft())

    def _deliver(self, flight: Flight) -> None:
        ending = flight.ending
        assert ending is not None
        self._limit.delivered()
        now_s = self._clock.now()
        own_s = flight.own.worked_s if flight.own else 0.0
        worked_s = self._finisher.worked_s - flight.worked_s - own_s if flight.call else 0.0
        outcome = Outcome(
            frame=flight.frame,
            at_s=flight.began_s,
            sla_s=self._sla_s,
            plan=ending.plan,
            predicted=flight.decision.predicted,
            measured=replace(ending.measured, total_s=now_s - flight.began_s),
            size_bytes=flight.size_bytes,
            answer=ending.answer,
            fallback=ending.fallback,
            transfers=flight.probed + self._late_calls.take() + self._probes.take_finished() + ending.transfers,
            refused=ending.refused,
            overlap=replace(
                flight.overlap,
                uplink_s=ending.uplink_s,
                compute_s=max(0.0, worked_s),
                order_s=max(0.0, now_s - ending.at_s),
            ),
            impossible=tuple(self._impossible),
            trace=flight.trace,
        )
        self._late_calls.keep(flight)
        self._impossible.clear()
        try:
            self._policy.observe(outcome)
            self._on_outcome(outcome)
        finally:
            flight.deliver(outcome)
