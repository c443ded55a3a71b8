"""A stream in a few numbers, however long it runs."""

import statistics
from dataclasses import replace

import numpy as np
import pytest

from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Answer
from janus_vit.planning.policies.presets import make_policy
from janus_vit.records import summary as module
from janus_vit.records.summary import Tally, summarise
from janus_vit.simulation.simulate import simulate


@pytest.fixture
def outcomes(platforms):
    """A simulated stream on an unsteady link: half of it late, some answers class 1 instead of 0."""
    trace = Trace("shaky", 0.5, [8.0, 0.2, 3.0, 0.0, 20.0])
    stream = list(simulate(make_policy("janus", platforms), platforms, trace, 0.1, 5.0, 0.05))
    middle_s = statistics.median(each.measured.total_s for each in stream)
    return [replace(each, sla_s=middle_s, answer=Answer((int(each.frame % 3 == 0),), (1.0,))) for each in stream]


def test_each_metric_is_what_its_name_says(outcomes):
    labels = [0, None] * len(outcomes)
    found, frames = summarise(outcomes, labels, taken=2 * len(outcomes)), len(outcomes)
    totals_s = [each.measured.total_s for each in outcomes]
    labelled = [each for each in outcomes if each.frame % 2 == 0]
    right = [each for each in labelled if each.answer.classes == (0,)]
    met = sum(each.met for each in outcomes)
    assert 0 < met < frames
    assert (found.frames, found.taken, found.fallbacks) == (frames, 2 * frames, sum(bool(o.fallback) for o in outcomes))
    assert found.violation_ratio == pytest.approx(1 - met / (2 * frames))
    assert found.deviation == pytest.approx(statistics.fmean(each.deviation for each in outcomes))
    assert (found.mean_s, found.median_s) == pytest.approx((np.mean(totals_s), np.median(totals_s)))
    assert (found.p95_s, found.p99_s) == pytest.approx(tuple(np.percentile(totals_s, (95, 99))))
    assert found.throughput_fps == pytest.approx(frames / (outcomes[-1].at_s + totals_s[-1] - outcomes[0].at_s))
    assert found.mean_bytes == pytest.approx(np.mean([each.size_bytes for each in outcomes]))
    assert found.discarded_s == pytest.approx(np.mean([each.measured.discarded_s for each in outcomes]))
    assert found.accuracy == pytest.approx(len(right) / len(labelled))
    assert found.in_time_accuracy == pytest.approx(sum(each.met for each in right) / len(labelled) / 2)
    assert sum(found.kinds.values()) == pytest.approx(1)


def test_missing_frames_or_labels_give_no_metric(outcomes):
    assert summarise([]) is None
    assert Tally().summary() is None
    assert summarise(outcomes).accuracy is None
    assert summarise(outcomes, [0]).accuracy in (0.0, 1.0)


def test_stream_of_weeks_is_counted_in_full_and_keeps_the_last_latencies(outcomes, monkeypatch):
    monkeypatch.setattr(module, "_LATENCIES", 20)
    tally, whole = Tally(), summarise(outcomes[:10])
    for each in [*outcomes, *outcomes[:10]]:
        tally.add(each)
    found = tally.summary()
    assert found.frames == len(outcomes) + 10
    assert found.violation_ratio == pytest.approx(np.mean([not each.met for each in [*outcomes, *outcomes[:10]]]))
    assert 10 <= len(tally._totals_s) <= 20
    assert list(tally._totals_s)[-10:] == [each.measured.total_s for each in outcomes[:10]]
    assert whole.frames == 10
