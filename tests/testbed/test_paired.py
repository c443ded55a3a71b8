"""A live run beside its simulation: what differs, and where it comes from."""

import dataclasses

import numpy as np
import pytest

from janus_vit.links.traces import Trace
from janus_vit.planning.policies.presets import make_policy
from janus_vit.records.summary import summarise
from janus_vit.simulation.conditions import Overhead
from janus_vit.simulation.simulate import simulate
from janus_vit.testbed.gap_analysis import CHOICES, OTHER, Comparison, compute_ratios, late_gap, time_gap
from janus_vit.testbed.paired import BenchSettings, PairedRuns, compare


def stream(platforms, policy="adaptive", mbps=(10.0, 10.0, 0.0), sla_s=0.08, **settings):
    trace = Trace("steps", 1.0, np.array(mbps))
    return tuple(simulate(make_policy(policy, platforms), platforms, trace, sla_s, 6.0, **settings))


def mean_s(outcomes):
    return np.mean([outcome.measured.total_s for outcome in outcomes])


def late(outcomes):
    return np.mean([not outcome.met for outcome in outcomes])


def slower(platforms, factor):
    return dataclasses.replace(platforms, device=platforms.device.slowed(factor))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3])
@pytest.mark.parametrize("mbps", [(10.0,), (2.0, 0.0), (0.5, 20.0)])
def test_the_parts_of_a_gap_add_up_to_it(platforms, factor, mbps):
    live, simulated = stream(slower(platforms, factor), mbps=mbps), stream(platforms)
    assert sum(time_gap(live, simulated).values()) == pytest.approx(mean_s(live) - mean_s(simulated), abs=1e-12)
    assert sum(late_gap(live, simulated).values()) == pytest.approx(late(live) - late(simulated), abs=1e-12)


def test_equal_runs_have_no_gap(platforms):
    live = stream(platforms)
    assert set(time_gap(live, live).values()) == {0.0}
    assert set(late_gap(live, live).values()) == {0.0}


def test_a_slow_part_is_named(platforms):
    # With time to spare the device computes nothing while it waits: a reply could wait for the end of a block.
    slow = stream(platforms, "cloud-only", overhead=Overhead(request_s=0.007), mbps=(10.0,), sla_s=0.3)
    gap = time_gap(slow, stream(platforms, "cloud-only", mbps=(10.0,), sla_s=0.3))
    assert gap.pop("rtt") == pytest.approx(0.007)
    assert all(seconds == pytest.approx(0.0, abs=1e-9) for seconds in gap.values())


def test_other_plans_are_choices_and_no_part(platforms):
    local, sent = stream(platforms, "device-only"), stream(platforms, "cloud-only", mbps=(10.0,))
    gap = time_gap(local, sent)
    assert gap[CHOICES] == pytest.approx(mean_s(local) - mean_s(sent))
    assert gap[OTHER] == pytest.approx(0.0)


def comparison(platforms, live, simulated, taken=None):
    return Comparison(
        "adaptive",
        summarise(live, (), taken),
        summarise(simulated),
        time_gap(live, simulated),
        late_gap(live, simulated),
        *compute_ratios(live, platforms),
    )


def test_a_close_pair_passes_without_a_word(platforms):
    found = comparison(platforms, stream(slower(platforms, 1.04), "device-only"), stream(platforms, "device-only"))
    assert found.close
    assert (found.misses, found.drift) == ((), None)
    assert found.median_gap == pytest.approx(1 - 1 / 1.04)


def test_a_machine_that_slowed_down_is_told_with_the_figure(platforms):
    found = comparison(platforms, stream(slower(platforms, 1.3), "device-only"), stream(platforms, "device-only"))
    assert not found.close
    assert found.speeds == {"device": pytest.approx(1.3)}
    assert found.drift == "the device took 1.30 times as long as its profile says"
    median, *_ = found.misses
    assert "(+23.1%)" in median
    assert "ms, of which device +" in median


def test_dropped_frames_are_a_reason_for_late_ones(platforms):
    live = stream(platforms, "device-only", sla_s=0.5)
    found = comparison(platforms, live, live, taken=2 * len(live))
    [sentence] = found.misses
    assert (
        sentence == "50.0% of the frames are late live and 0.0% simulated: +50.0 points, of which dropped frames +50.0"
    )


def test_simulated_frames_are_right_as_often_as_was_measured(platforms):
    live = stream(platforms, "device-only")
    settings = BenchSettings(Trace("constant", 1.0, np.array([10.0])), 0.02, 0.08, 6.0)
    found = compare(PairedRuns("device-only", live, live, (0,) * len(live), platforms), settings)
    assert found.live.in_time_accuracy == 1.0  # the simulated answer is class 0
    assert found.simulated.in_time_accuracy is None  # no table: nobody knows
