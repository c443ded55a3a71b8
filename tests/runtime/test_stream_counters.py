"""A device counts what its stream does, and tells its cloud twice a second."""

import pytest

from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.runtime.stream_counters import StreamCounters

LOCAL = Plan("exponential", 0.2, (1, 1), 3, "local")
IMAGE = Plan("exponential", 0.1, (1, 1), 0, "jpeg90")


def outcome(plan=IMAGE, total_s=0.1, fallback=None, refused=False, accuracy=0.8):
    predicted = Prediction(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, rate_mbps=5.0, accuracy=accuracy)
    measured = Measured(total_s=total_s)
    return Outcome(0, 0.0, 0.3, plan, predicted, measured, 100, Answer((), ()), fallback, (), refused)


def test_frames_count_by_how_they_ended():
    counters = StreamCounters("robot")
    for each in (outcome(), outcome(LOCAL, accuracy=None), outcome(total_s=0.4), outcome(fallback="x", refused=True)):
        counters.add(each)
    report = counters.report
    assert (report.frames, report.in_time, report.fallbacks, report.refusals) == (4, 3, 1, 1)
    assert (report.images, report.tokens, report.rated) == (3, 0, 3)
    assert report.expected_right == pytest.approx(1.6)
    assert report.latency_s == pytest.approx(0.7)
    assert (report.device, report.plan, report.sla_s, report.rate_mbps) == ("robot", str(IMAGE), 0.3, 5.0)


def test_a_report_is_due_after_a_frame_and_then_twice_a_second():
    counters = StreamCounters("robot")
    assert counters.due(0.0) is None
    counters.add(outcome())
    assert counters.due(0.1) is not None
    assert counters.due(0.5) is None
    assert counters.due(0.6) is not None
