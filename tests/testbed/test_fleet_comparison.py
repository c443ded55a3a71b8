"""A live fleet's outcome beside its simulation: what agrees, and what a difference consists of."""

import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from fleet_files import DIGITS, PERIOD_S, far_and_near

from janus_vit.fleet.contenders import contender
from janus_vit.fleet.file import KnownModel, load_fleet, mixed_fleet
from janus_vit.fleet.simulate import simulate_fleet
from janus_vit.fleet.spec import members
from janus_vit.model.catalog import load_model
from janus_vit.simulation.conditions import Conditions, Noise, Overhead
from janus_vit.testbed.cloud_process import CloudUsage
from janus_vit.testbed.live_fleet.comparison import WHOLE, compare_fleets
from janus_vit.testbed.live_fleet.conditions import CpuNeed, FleetConditions, pooled
from janus_vit.testbed.live_fleet.device_process import live_trace, trace_offset_s
from janus_vit.testbed.live_fleet.paired import FleetSettings, FleetSide, PairedFleets, run_paired_fleets
from janus_vit.testbed.live_fleet.rig import LiveRun

SECONDS = 4.8


class AsMeasured:
    """A rig whose live runs are as the measured conditions say, with noise of their own."""

    policy = "adaptive"

    def __init__(self, fleet):
        self.fleet = fleet

    def measure(self):
        noise = Noise((0.95, 1.05), (0.95, 1.05), 0, (0.8, 1.2), (0.9, 1.0))
        overhead = Overhead(1e-4, 1e-3, 2e-3, 1e-4, 120)
        return FleetConditions(Conditions(overhead, noise), CpuNeed(1e-3, 1e-3))

    def run(self, drawn, need, duration_s, progress):
        measured, outcomes = self.measure().conditions, defaultdict(list)
        found = simulate_fleet(
            self.fleet,
            drawn,
            contender("adaptive"),
            conditions=replace(measured, noise=replace(measured.noise, seed=17)),
            on_outcome=lambda member, outcome: outcomes[member.name].append(outcome),
        )
        busy_s = found.busy * duration_s
        return LiveRun(outcomes, drawn, CloudUsage(busy_s, found.mean_batch * busy_s, busy_s, busy_s))


def test_a_fleet_that_runs_as_measured_agrees_with_its_simulation(tmp_path, make_profile):
    digits = load_model(DIGITS.name)
    fleet = load_fleet(far_and_near(tmp_path, make_profile), lambda name: KnownModel(digits.shape, digits.accuracy))
    pair = run_paired_fleets(AsMeasured(fleet), FleetSettings(4, SECONDS + 1.2, 1.2, 0))
    found = compare_fleets(pair)
    assert found.agrees
    for kind, devices in zip(found.kinds, (2, 2, 4), strict=True):
        assert kind.live.frames == kind.simulated.frames == devices * SECONDS / PERIOD_S
        assert kind.live.in_time == kind.simulated.in_time == 1.0
        assert kind.live.right == pytest.approx(kind.simulated.right, abs=0.02)
        assert kind.live.median_s == pytest.approx(kind.simulated.median_s, rel=0.1)
    far, near, _ = found.kinds
    for side in ("live", "simulated"):
        assert getattr(far, side).here == 1.0
        assert getattr(near, side).image + getattr(near, side).tokens == 1.0
    assert min(found.busy) > 0.05
    assert all(1 <= frames < 2 for frames in found.mean_batch)


def side(drawn, **changes):
    outcomes = {}
    run = simulate_fleet(
        mixed_fleet(),
        drawn,
        contender("adaptive"),
        conditions=Conditions(**changes),
        on_outcome=lambda member, outcome: outcomes.setdefault(member.name, []).append(outcome),
    )
    return FleetSide(run.frames, outcomes, run.busy, run.mean_batch)


@pytest.fixture(scope="module")
def drawn():
    return members(mixed_fleet(), 6, 4.0, seed=3)


def test_equal_runs_agree_without_a_word(drawn):
    same = side(drawn)
    found = compare_fleets(PairedFleets(drawn, same, same, 9))
    assert found.agrees
    assert found.misses == ()
    assert [kind.name for kind in found.kinds] == ["camera", "robot", "vehicle", "sensor", WHOLE]
    whole = found.kinds[-1]
    assert whole.live.frames == len(same.frames.device) == sum(kind.live.frames for kind in found.kinds[:-1])
    assert whole.live.right == pytest.approx(same.frames.value.mean())
    assert set(whole.parts.values()) == {0.0}


def test_a_difference_is_told_with_the_parts_that_it_consists_of(drawn):
    slow = side(drawn, overhead=Overhead(request_s=0.08))
    found = compare_fleets(PairedFleets(drawn, slow, side(drawn), 9))
    assert not found.agrees
    said = [miss for miss in found.misses if miss.startswith("all: the median is ")]
    assert len(said) == 1
    assert "of the gap of the mean latencies, " in said[0]
    parts = found.kinds[-1].parts  # devices choose other plans as well, because the round trip is longer
    assert max(set(parts) - {"choices"}, key=parts.__getitem__) == "rtt"
    assert f"rtt {1e3 * parts['rtt']:+.1f}" in said[0]
    assert found.as_json()["agrees"] is False
    assert json.dumps(found.as_json(), allow_nan=False)


def test_overheads_and_noise_of_a_real_fleet_slow_a_simulated_one(drawn):
    exact, again = side(drawn), side(drawn, noise=Noise(seed=5))
    assert exact.frames.digest == again.frames.digest
    noisy = [side(drawn, noise=Noise((1.0, 1.3), (1.0, 1.3), seed)).frames for seed in (1, 1, 2)]
    assert noisy[0].digest == noisy[1].digest != noisy[2].digest
    assert np.median(noisy[0].total_s) > np.median(exact.frames.total_s)
    overhead = Overhead(request_s=0.01)
    varied = side(drawn, overhead=overhead, noise=Noise(request=(0.5, 1.5)))
    times_s = {outcome.measured.rtt_s for stream in varied.outcomes.values() for outcome in stream}
    assert {round(each_s, 6) for each_s in times_s} >= {0.025, 0.035}  # 20 ms of the link, and the draws


def test_measurements_before_and_after_are_pooled():
    before = Conditions(Overhead(0.0, 0.002, 0.004, 0.0, 120), Noise((1.0,), (2.0,), 0, (3.0,), (0.5,)))
    after = Conditions(Overhead(0.002, 0.004, 0.006, 0.002, 120), Noise((4.0,), (5.0,), 0, (6.0,), (0.6,)))
    found = pooled(before, after)
    assert found.overhead == Overhead(0.001, 0.003, 0.005, 0.001, 120)
    noise = found.noise
    assert (noise.device, noise.cloud, noise.request) == ((1.0, 4.0), (2.0, 5.0), (3.0, 6.0))
    assert noise.cloud_warm == (0.5, 0.6)


def test_batches_after_a_pause_and_without_one_have_factors_of_their_own():
    camera = replace(mixed_fleet().kinds[0], links=("constant:20",))
    fleet = replace(mixed_fleet(), kinds=(camera,))
    two = [replace(member, phase_s=0.0) for member in members(fleet, 2, 2.0, seed=0)]  # both send at the same time

    def latencies_s(noise):
        frames = simulate_fleet(fleet, two, contender("jpeg-one-by-one"), conditions=Conditions(noise=noise)).frames
        return [frames.total_s[frames.device == index] for index in range(2)]

    first, second = latencies_s(Noise())
    compute_s = second - first
    cold, warm = latencies_s(Noise(cloud=(1.5,), cloud_warm=(0.5,)))
    assert cold - first == pytest.approx(0.5 * compute_s)
    assert warm - cold == pytest.approx(0.5 * compute_s)
    same, other = latencies_s(Noise(cloud=(1.5,)))
    assert other - same == pytest.approx(1.5 * compute_s)


def test_a_live_link_begins_where_its_device_begins(drawn):
    for member in drawn:
        offset_s, turned = trace_offset_s(member), live_trace(member)
        assert member.begin_s - member.trace.interval_s < offset_s <= member.begin_s
        for at_s in (0.05, 1.05, 7.35):
            assert turned.rate_at(at_s) == member.trace.rate_at(offset_s + at_s)
