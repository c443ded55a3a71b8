"""A live fleet beside its simulation: one short run, the comparison, and one sentence for what cannot run."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import refused

from janus_vit.cli.main import main
from janus_vit.cli.simulated import live_fleet
from janus_vit.errors import InputError
from janus_vit.fleet.contenders import contender
from janus_vit.fleet.file import mixed_fleet, published_cloud
from janus_vit.fleet.simulate import simulate_fleet
from janus_vit.fleet.spec import members
from janus_vit.planning.plan import ModelShape
from janus_vit.reproduction.published import published_profile
from janus_vit.scheduling.costs import CostTable, profile_costs
from janus_vit.scheduling.estimate import full_batch_s
from janus_vit.simulation.conditions import EXACT, Conditions, Noise, Overhead
from janus_vit.testbed.live_fleet import conditions, paired, rig
from janus_vit.testbed.live_fleet.comparison import WHOLE, compare_fleets
from janus_vit.testbed.live_fleet.conditions import CpuNeed, FleetConditions, pooled
from janus_vit.testbed.live_fleet.device_process import live_trace, trace_offset_s
from janus_vit.testbed.live_fleet.emulate import default_fleet, emulate, whole_s
from janus_vit.testbed.live_fleet.paired import FleetSettings, FleetSide, PairedFleets, run_paired_fleets

SHAPE = mixed_fleet().shape
DIGITS = ModelShape("janus-digits", 12, 64, 0, 96, (3, 64, 64))
SECONDS, SLA_S, PERIOD_S = 4.8, 3.0, 0.6


@pytest.fixture
def write_fleet(tmp_path, make_profile):
    """Write a fleet's file: one kind is nearly as fast as the cloud and far away, one is slow and near."""

    def profile(name, frame_s):
        found = make_profile((frame_s - 1.5e-3) / (DIGITS.blocks * DIGITS.tokens), model=DIGITS.name)
        found.save(tmp_path / f"{name}.json")
        return found

    def write(cloud_s=0.06, near_s=0.4, model=DIGITS.name):
        one = profile_costs(profile("cloud", cloud_s), DIGITS)
        rows = (one.block_s[0], tuple(2 * seconds for seconds in one.block_s[0]))
        ends = [(each[0], 2 * each[0]) for each in (one.stem_s, one.head_s, one.merge_s)]
        CostTable(DIGITS.name, (1, 4), one.tokens, rows, *ends).save(tmp_path / "costs.json")
        profile("far", 0.08)
        profile("near", near_s)
        camera = {"sla_s": SLA_S, "period_s": PERIOD_S}
        values = {
            "schema": "janus-vit/fleet/1",
            "model": model,
            "cloud": {"name": "emulated", "profile": "cloud.json", "costs": "costs.json", "max_batch_frames": 4},
            "devices": [
                {"name": "far", "profile": "far.json", "rtt_s": 0.2, "links": ["constant:1"], **camera},
                {"name": "near", "profile": "near.json", "rtt_s": 0.01, "links": ["constant:20"], **camera},
            ],
        }
        path = tmp_path / "fleet.json"
        path.write_text(json.dumps(values))
        return path

    return write


@pytest.fixture
def quick(monkeypatch, rough_profiles):
    """Measure few frames, and let hardly any frames be warm-up."""
    monkeypatch.setattr(conditions, "_FRAMES", 7)
    monkeypatch.setattr(conditions, "_WARM_UP", 1)
    monkeypatch.setattr(live_fleet, "WARM_UP_S", 1.0)


def test_a_live_fleet_does_what_its_simulation_does(capsys, quick, write_fleet):
    options = ["--devices", "4", "--seconds", str(SECONDS), "--json"]
    assert main(["fleet", str(write_fleet()), "--live", *options]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["devices"] == 4 <= found["devices_carried"]
    assert ("AGREE: " if found["agrees"] else "DIFFER: ") in err
    assert all(miss in err for miss in found["why_not"])
    for name, devices in (("far", 2), ("near", 2), (WHOLE, 4)):
        live, simulated = (found["kinds"][name][side] for side in ("live", "simulated"))
        assert live["frames"] == simulated["frames"] == devices * SECONDS / PERIOD_S
        assert abs(live["in_time"] - simulated["in_time"]) <= 0.1
        assert abs(live["right"] - simulated["right"]) <= 0.1
        assert 1 / 3 < live["median_s"] / simulated["median_s"] < 3  # other programs may come and go
    for side in ("live", "simulated"):
        far, near = (found["kinds"][name][side] for name in ("far", "near"))
        assert far["in_time"] > 0.8
        assert near["in_time"] > 0.8
        assert far["here"] > 0.8
        assert near["image"] + near["tokens"] > 0.8
        assert found["engine_busy"][side] > 0.05
        assert 1 <= found["mean_batch"][side] < 2


def test_a_fleet_of_another_model_is_one_sentence(capsys, tmp_path):
    camera = {"name": "camera", "machine": "orin-nano", "sla_s": 0.3, "period_s": 0.3, "rtt_s": 0.02}
    values = {"schema": "janus-vit/fleet/1", "model": "vit-large-384", "cloud": {"machine": "cpu"}}
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(values | {"devices": [camera | {"links": ["constant:20"]}]}))
    said = refused(capsys, ["fleet", "--live", str(path)])
    assert "fleet.json: field model is 'vit-large-384', and --model runs 'janus-digits'" in said


def test_a_link_that_is_shorter_than_the_run_is_refused_before_anything_is_measured(capsys, tmp_path, write_fleet):
    (tmp_path / "link.csv").write_text("time_s,mbps\n0,5\n1,5\n")
    path = write_fleet()
    path.write_text(path.read_text().replace('constant:1"', 'link.csv"'))
    assert "devices[0].links[0]: " in refused(capsys, ["fleet", "--live", str(path)])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--devices", "0"], "--devices '0' must list whole numbers from 1"),
        (["--devices", "4,8"], "--devices '4,8': with --live, write one number"),
        (["--policy", "best"], "policy 'best' is unknown"),
        (["--model", "vit-tiny-224"], "no accuracy of model 'vit-tiny-224' is known"),
        (["--contender", "janus"], "--contender is for simulated fleets: leave it out, or --live"),
        (["--csv", "frames.csv"], "--csv is for simulated fleets"),
        (["--cloud", "t4"], "--cloud is for simulated fleets"),
        (["--seconds", "0"], "--seconds 0 must be a number above zero"),
    ],
)
def test_options_that_cannot_be_used_are_one_sentence(capsys, options, says):
    assert says in refused(capsys, ["fleet", "--live", *options])


@pytest.fixture(scope="module")
def own():
    """A machine twice as fast as the cloud of the mixed fleet."""
    return published_profile("v100", "vit-large-384").slowed(0.5)


def test_every_device_and_the_cloud_are_this_machine_slowed_to_their_speed(own):
    wanted = mixed_fleet()
    found = emulate(wanted, own)
    assert found.cloud.factor == pytest.approx(2)
    for kind, emulated in zip(wanted.kinds, found.fleet.kinds, strict=True):
        assert whole_s(emulated.profile, wanted.shape) == pytest.approx(whole_s(kind.profile, wanted.shape))
        assert emulated.profile == own.slowed(found.slowdowns[kind.name])
        assert replace(emulated, profile=kind.profile) == kind
    assert found.fleet.cloud.profile.decode == own.decode
    assert found.fleet.cloud.config == wanted.cloud.config


def test_batches_take_as_long_by_one_frame_as_the_costs_of_the_fleet_say(own):
    cloud = published_cloud("h100", "vit-large-384")
    found = emulate(replace(mixed_fleet(), cloud=cloud), own.slowed(1e-3))
    for frames in (1, 3, 8, 32):
        times = full_batch_s(cloud.costs, SHAPE, frames) / full_batch_s(cloud.costs, SHAPE, 1)
        assert found.cloud.of_batch(frames) == pytest.approx(found.cloud.factor * times / frames)
        emulated = found.fleet.cloud.costs
        assert full_batch_s(emulated, SHAPE, frames) / full_batch_s(emulated, SHAPE, 1) == pytest.approx(times)


def test_a_fleet_that_is_faster_than_this_machine_is_refused(own):
    with pytest.raises(InputError, match=r"v100 is 2\.0 times faster than this machine"):
        emulate(mixed_fleet(), own.slowed(4))
    with pytest.raises(InputError, match=r"mixed\.json: field devices\[2\] is .* times faster than this machine"):
        emulate(replace(mixed_fleet(), cloud=replace(mixed_fleet().cloud, profile=own.slowed(1e3))), own.slowed(20))


def test_the_default_fleet_scales_with_the_machine(own):
    wanted = mixed_fleet()
    small, large = (default_fleet(own.slowed(factor), SHAPE, wanted.accuracy) for factor in (1, 3))
    for one, other in zip(small.kinds, large.kinds, strict=True):
        assert other.sla_s == pytest.approx(3 * one.sla_s)
        assert other.period_s == pytest.approx(3 * one.period_s)
    slowdowns = [emulate(fleet, own.slowed(factor)).slowdowns for fleet, factor in ((small, 1), (large, 3))]
    assert slowdowns[0] == pytest.approx(slowdowns[1])
    assert all(factor > 4 for factor in slowdowns[0].values())


class Recorder:
    """A rig that has measured something, and runs nothing."""

    def __init__(self, need):
        self.fleet = mixed_fleet()
        self.policy = "adaptive"
        self.measured = FleetConditions(EXACT, need)

    def measure(self):
        return self.measured

    def run(self, drawn, need, duration_s, progress):
        raise AssertionError("the fleet must not start")


def test_more_devices_than_the_cores_carry_are_refused_with_their_number(monkeypatch):
    monkeypatch.setattr(rig, "cores", lambda: 4)
    monkeypatch.setattr(paired, "cores", lambda: 4)
    need = CpuNeed(device_s=0.05, cloud_s=0.01)
    carried = rig.devices_carried(mixed_fleet(), need)
    rate_hz = sum(kind.share / kind.period_s for kind in mixed_fleet().kinds) / 10
    assert carried * 0.06 * rate_hz <= 0.45 * 4 < (carried + 1) * 0.06 * rate_hz
    says = f"--devices {carried + 1} is too many: 4 cores carry {carried} devices of this fleet live: use at most"
    with pytest.raises(InputError, match=says):
        run_paired_fleets(Recorder(need), FleetSettings(carried + 1, 2.0, 1.0, 0))
    with pytest.raises(InputError, match="4 cores carry 0 devices of this fleet live: use slower cameras"):
        run_paired_fleets(Recorder(CpuNeed(9.0, 9.0)), FleetSettings(None, 2.0, 1.0, 0))


def test_the_process_of_the_cloud_has_one_core(monkeypatch):
    monkeypatch.setattr(rig, "cores", lambda: 1_000)
    rate_hz = sum(kind.share / kind.period_s for kind in mixed_fleet().kinds) / 10
    carried = rig.devices_carried(mixed_fleet(), CpuNeed(device_s=0.05, cloud_s=0.01))
    assert carried * 0.01 * rate_hz <= 0.45 < (carried + 1) * 0.01 * rate_hz


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
