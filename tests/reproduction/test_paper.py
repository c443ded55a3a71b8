"""The paper's evaluation: its policies as it ran them, against cases that can be worked out by hand."""

import numpy as np
import pytest

from janus_vit.links.traces import Trace
from janus_vit.reproduction import paper
from janus_vit.reproduction.paper import Assumptions


def constant(mbps, seconds=5.0):
    return Trace(f"{mbps} Mbps", 0.1, np.full(round(10 * seconds), float(mbps)), {})


def test_cloud_only_meets_300_ms_from_about_44_mbps_on_as_published():
    def meets(mbps):
        assumptions = Assumptions(round_trips=0.0)
        return not paper.run("cloud-only", "image", "lte", constant(mbps), assumptions).late.any()

    assert not meets(42)
    assert meets(47)


def test_device_only_is_always_late_at_three_frames_a_second_as_published():
    figures = paper.figures([paper.run("device-only", "image", "lte", constant(50), Assumptions())], "run")
    assert figures.violations == 1.0
    assert figures.fps == pytest.approx(3.0, abs=0.1)
    assert figures.deviation == pytest.approx(0.12, abs=0.03)


def test_mixed_is_the_better_of_its_two_ways():
    for mbps in (10, 30, 100):
        device, cloud, mixed = (
            paper.run(name, "image", "5g", constant(mbps), Assumptions()).total_s.mean()
            for name in ("device-only", "cloud-only", "mixed")
        )
        assert mixed == pytest.approx(min(device, cloud), rel=0.02)


def test_the_device_waits_for_the_cloud_through_an_outage_as_the_paper_does():
    trace = Trace("outage", 1.0, np.array([100.0, 0.0, 0.0, 0.0, 100.0]), {})
    outcomes = paper.outcomes("cloud-only", "image", "lte", trace, Assumptions())
    assert max(outcome.measured.total_s for outcome in outcomes) > 3.0
    assert all(outcome.fallback is None for outcome in outcomes)


def test_a_bandwidth_that_is_held_keeps_a_frame_local_for_ever():
    trace = Trace("poor start", 1.0, np.array([1.0] * 5 + [200.0] * 20), {})
    held, probed = (
        paper.run("mixed", "image", "lte", trace, Assumptions(bandwidth=how, window=5)) for how in ("hold", "probe")
    )
    assert (held.split[-5:] == 25).all()
    assert (probed.split[-5:] == 0).all()


def test_runs_or_frames_count_alike():
    runs = [paper.run("mixed", "image", "lte", constant(mbps), Assumptions()) for mbps in (5, 200)]
    by_run, by_frame = (paper.figures(runs, weight) for weight in ("run", "frame"))
    assert by_run.violations == pytest.approx(0.5)
    assert by_frame.violations < 0.4  # the fast run has more frames
