"""The device command's pacing on a virtual clock: a camera's newest frames, and every frame of a file."""

import itertools
from dataclasses import dataclass

import pytest

from janus_vit.cloud.in_process import InProcess
from janus_vit.planning.outcome import Answer, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision
from janus_vit.planning.price import CloudLoad, EnginePrice
from janus_vit.records.summary import summarise
from janus_vit.runtime.device import Device
from janus_vit.runtime.pacing import EveryFrame, NewestFrames
from janus_vit.simulation.clock import VirtualClock


@dataclass(frozen=True)
class Shot:
    captured_s: float | None


def camera(clock, period_s):
    """Frames at multiples of the period: the newest one, or the next one if that was given already."""
    last = -1
    while True:
        newest = int(clock.now() / period_s + 1e-9)
        if newest == last:
            newest += 1
            clock.advance(newest * period_s - clock.now())
        last = newest
        yield Shot(newest * period_s)


class IdleService:
    """The part of a cloud's service that probes use."""

    def load(self):
        return CloudLoad(0.0, EnginePrice())


def run(clock, stream, works_s):
    """When each frame was captured and when it began, if the frames take that long."""
    seen = []
    for frame, work_s in zip(stream, works_s, strict=False):
        seen.append((pytest.approx(frame.captured_s), pytest.approx(clock.now())))
        clock.advance(work_s)
    return seen


def newest_frames(clock, camera_s, period_s, skip=lambda captured_s: False):
    return NewestFrames(camera(clock, camera_s), period_s, skip, now=clock.now, wait=clock.advance)


def test_newest_frame_of_a_fast_camera_is_run_at_the_rate_asked_for():
    clock = VirtualClock()
    stream = newest_frames(clock, camera_s=0.03, period_s=0.1)
    assert run(clock, stream, [0.02] * 4) == [(0.0, 0.0), (0.09, 0.1), (0.18, 0.2), (0.3, 0.3)]
    assert stream.dropped == 0


def test_frames_that_become_due_while_another_runs_are_dropped_except_for_the_newest():
    clock = VirtualClock()
    stream = newest_frames(clock, camera_s=0.05, period_s=0.1)
    # The first frame runs until 0.35: the frames due at 0.1 and 0.2 are dropped, that due at 0.3 runs.
    assert run(clock, stream, [0.35, 0.01, 0.01]) == [(0.0, 0.0), (0.35, 0.35), (0.4, 0.4)]
    assert stream.dropped == 2


def test_camera_slower_than_the_rate_asked_for_drops_nothing():
    clock = VirtualClock()
    stream = newest_frames(clock, camera_s=0.25, period_s=0.1)
    seen = run(clock, stream, [0.01] * 4)
    assert [captured_s for captured_s, _ in seen] == [0.0, 0.25, 0.5, 0.75]
    assert stream.dropped == 0


def test_files_are_run_in_full_and_never_before_their_turn():
    clock = VirtualClock()
    stream = EveryFrame([Shot(None)] * 4, 0.1, now=clock.now, wait=clock.advance)
    began = []
    for _, work_s in zip(stream, [0.25, 0.01, 0.01, 0.01], strict=True):
        began.append(pytest.approx(clock.now()))
        clock.advance(work_s)
    assert began == [0.0, 0.25, 0.26, 0.3]
    assert stream.dropped == 0


@pytest.mark.parametrize("kind", ["camera", "files"])
def test_stream_ends_when_the_user_stops_it(kind):
    clock = VirtualClock()
    times = {"now": clock.now, "wait": clock.advance, "stopped": lambda: clock.now() > 0.25}
    if kind == "camera":
        stream = NewestFrames(camera(clock, 0.1), 0.1, lambda captured_s: False, **times)
    else:
        stream = EveryFrame(itertools.repeat(Shot(None)), 0.1, **times)
    assert len(list(stream)) == 3


class TimedWorker:
    """Takes so long for each frame."""

    fingerprint = "timed"

    def __init__(self, clock, works_s):
        self._clock = clock
        self._works_s = iter(works_s)

    def prepare(self, frame):
        return frame

    def compute(self, prepared, plan):
        self._clock.advance(next(self._works_s))

    def finish(self, state, plan):
        return Answer((0,), (1.0,))


class LocalPolicy:
    """Always runs frames on the device, and expects them to take 0.1 s."""

    def observe(self, outcome):
        pass

    def choose(self, situation):
        plan = Plan("none", 0.0, (0,) * 6, split=7, payload="local")
        predicted = Prediction(0.1, 0.0, 0.0, 0.0, 0.0, 0.0, finish_s=0.0, size_bytes=0.0)
        return Decision(plan, predicted, probe_bytes=1000)


def test_hopeless_frames_of_a_camera_are_skipped_and_counted():
    clock = VirtualClock()
    transport = InProcess(IdleService(), clock)
    device = Device(TimedWorker(clock, [0.35, 0.05, 0.05]), transport, LocalPolicy(), sla_s=0.15, clock=clock)
    stream = newest_frames(clock, camera_s=0.2, period_s=0.2, skip=device.skip_if_hopeless)
    outcomes = []
    for shot in itertools.islice(stream, 3):
        outcomes.append(device.infer(None, shot.captured_s))
        if len(outcomes) == 3:
            break
    # The first frame ends at 0.35. The one captured at 0.2 has nothing left of its 0.15 s, while a new one would be in
    # time: it is skipped.
    assert [outcome.at_s for outcome in outcomes] == pytest.approx([0.0, 0.4, 0.6])
    assert [outcome.met for outcome in outcomes] == [False, True, True]
    assert stream.dropped == 1
    summary = summarise(outcomes, taken=len(outcomes) + stream.dropped)
    assert (summary.frames, summary.taken) == (3, 4)
    assert summary.violation_ratio == pytest.approx(0.5)


def test_probe_is_sent_while_a_frame_is_skipped():
    clock = VirtualClock()
    transport = InProcess(IdleService(), clock)
    device = Device(TimedWorker(clock, [0.05]), transport, LocalPolicy(), sla_s=0.15, clock=clock)
    clock.advance(1.0)
    assert device.skip_if_hopeless(0.5)
    (transfer,) = device.infer(None).transfers
    assert (transfer.at_s, transfer.size_bytes) == (1.0, 1000)
