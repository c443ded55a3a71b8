"""A live fleet beside its simulation: one short run, the comparison, and one sentence for what cannot run."""

import json
from dataclasses import replace

import pytest
from conftest import refused
from fleet_files import far_and_near

from janus_vit.cli.main import main
from janus_vit.cli.simulated import live_fleet
from janus_vit.errors import InputError
from janus_vit.fleet.file import mixed_fleet, published_cloud
from janus_vit.reproduction.published import published_profile
from janus_vit.scheduling.estimate import full_batch_s
from janus_vit.simulation.conditions import EXACT
from janus_vit.testbed.live_fleet import conditions, paired, rig
from janus_vit.testbed.live_fleet.comparison import WHOLE
from janus_vit.testbed.live_fleet.conditions import CpuNeed, FleetConditions
from janus_vit.testbed.live_fleet.emulate import default_fleet, emulate, whole_s
from janus_vit.testbed.live_fleet.paired import FleetSettings, run_paired_fleets

SHAPE = mixed_fleet().shape
SECONDS, PERIOD_S = 4.8, 2.4  # one slow core carries four devices with such cameras


@pytest.fixture
def quick(monkeypatch, rough_profiles):
    """Measure few frames, and let hardly any frames be warm-up."""
    monkeypatch.setattr(conditions, "_FRAMES", 7)
    monkeypatch.setattr(conditions, "_WARM_UP", 1)
    monkeypatch.setattr(live_fleet, "WARM_UP_S", 1.0)


def test_a_live_fleet_runs_the_frames_that_its_simulation_runs(capsys, quick, tmp_path, make_profile):
    """How fast it runs them is the machine's affair: see test_fleet_comparison.py."""
    path = far_and_near(tmp_path, make_profile, near_s=1.0, period_s=PERIOD_S)
    status = main(["fleet", str(path), "--live", "--devices", "4", "--seconds", str(SECONDS), "--json"])
    out, err = capsys.readouterr()
    assert status == 0, err
    found = json.loads(out)
    assert found["devices"] == 4 <= found["devices_carried"]
    assert found["agrees"] is not any(miss.startswith(WHOLE) for miss in found["why_not"])
    assert ("AGREE: " if found["agrees"] else "DIFFER: ") in err
    assert all(miss in err for miss in found["why_not"])
    for name, devices in (("far", 2), ("near", 2), (WHOLE, 4)):
        live, simulated = (found["kinds"][name][side] for side in ("live", "simulated"))
        assert live["frames"] == simulated["frames"] == devices * SECONDS / PERIOD_S
        for figures in (live, simulated):
            assert 0 < figures["here"] + figures["image"] + figures["tokens"] <= 1  # the others were dropped
            assert 0 <= figures["right"] <= figures["in_time"] <= 1
            assert 0 < figures["median_s"] <= figures["p99_s"]
    for side in ("live", "simulated"):
        near = found["kinds"]["near"][side]
        assert near["image"] + near["tokens"] > 0  # alone it takes a second; the cloud is nearly idle
        assert found["engine_busy"][side] > 0
        assert found["mean_batch"][side] >= 1


def test_a_fleet_of_another_model_is_one_sentence(capsys, tmp_path):
    camera = {"name": "camera", "machine": "orin-nano", "sla_s": 0.3, "period_s": 0.3, "rtt_s": 0.02}
    values = {"schema": "janus-vit/fleet/1", "model": "vit-large-384", "cloud": {"machine": "cpu"}}
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(values | {"devices": [camera | {"links": ["constant:20"]}]}))
    said = refused(capsys, ["fleet", "--live", str(path)])
    assert "fleet.json: field model is 'vit-large-384', and --model runs 'janus-digits'" in said


def test_a_link_that_is_shorter_than_the_run_is_refused_before_anything_is_measured(capsys, tmp_path, make_profile):
    (tmp_path / "link.csv").write_text("time_s,mbps\n0,5\n1,5\n")
    path = far_and_near(tmp_path, make_profile)
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
