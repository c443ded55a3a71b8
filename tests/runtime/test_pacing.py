"""A camera's newest frame, and the frames that are dropped."""

import pytest

from janus_vit.links.traces import Trace
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.policies.presets import make_policy
from janus_vit.records.summary import expected_in_time, summarise
from janus_vit.runtime.pacing import captures, frames_taken
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.simulate import simulate

WORK_S = (0.05, 0.25, 0.05)  # of each frame


def taken_at(period_s, begin_s=0.0, duration_s=0.55):
    clock = VirtualClock(begin_s)
    times = []
    for captured_s, work_s in zip(captures(clock.now, clock.advance, duration_s, period_s), WORK_S * 9, strict=False):
        times.append(captured_s - begin_s)
        clock.advance(work_s)
    return times


def test_back_to_back_a_frame_is_captured_when_the_last_is_finished():
    assert taken_at(None) == pytest.approx([0.0, 0.05, 0.3, 0.35, 0.4])


@pytest.mark.parametrize("begin_s", [0.0, 7.3])
def test_camera_gives_its_newest_frame_and_never_one_twice(begin_s):
    # The second frame runs from 0.1 to 0.35. Meanwhile 0.2 and 0.3 are captured, and 0.2 is dropped.
    assert taken_at(0.1, begin_s) == pytest.approx([0.0, 0.1, 0.3, 0.4, 0.5])


def test_a_camera_that_is_read_late_began_at_its_time_and_has_dropped_its_first_frames():
    clock = VirtualClock(7.47)
    times = captures(clock.now, clock.advance, 0.55, 0.1, began_s=7.3)
    assert list(times) == pytest.approx([7.4, 7.5, 7.6, 7.7, 7.8])


def streamed(platforms, period_s):
    trace = Trace("constant", 1.0, [1.0])
    return list(simulate(make_policy("device-only", platforms), platforms, trace, 0.1, 5.0, period_s))


def test_dropped_frames_count_as_violations_and_as_wrong(platforms):
    outcomes = streamed(platforms, 0.02)
    taken = frames_taken(len(outcomes), 5.0, 0.02)
    assert taken == 250
    assert len(outcomes) < taken / 2
    in_time = sum(outcome.met for outcome in outcomes)
    assert in_time > 10
    summary = summarise(outcomes, [0] * len(outcomes), taken)
    assert (summary.frames, summary.taken) == (len(outcomes), taken)
    assert summary.violation_ratio == pytest.approx(1 - in_time / taken)
    assert summary.in_time_accuracy == pytest.approx(in_time / taken)
    assert summary.accuracy == 1.0  # of the frames that were run


def test_slow_camera_drops_nothing(platforms):
    outcomes = streamed(platforms, 0.5)
    assert frames_taken(len(outcomes), 5.0, 0.5) == len(outcomes) == 10
    assert frames_taken(len(outcomes), 4.9, 0.5) == 10  # one is still running
    assert frames_taken(7, 5.0, None) == 7


def test_expected_accuracy_counts_over_all_frames_taken(platforms):
    outcomes = streamed(platforms, 0.5)
    plan = outcomes[0].plan
    none = Point("none", 0.0, (0,) * 6, plan.split, plan.payload, 1000, 900, 900)
    point = Point(plan.family, plan.level, plan.merges, plan.split, plan.payload, 1000, 800, 800)
    table = AccuracyTable("example", "fingerprint", "eager", "right", (none, point), {})
    assert expected_in_time(outcomes, 20, table) == pytest.approx(0.8 * 10 / 20)
