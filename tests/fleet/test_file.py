"""Fleet files: what they may say, and one sentence with file and field for everything else."""

import json
from copy import deepcopy

import pytest

from janus_vit.errors import InputError
from janus_vit.fleet.file import load_fleet, mixed_fleet, published_cloud
from janus_vit.fleet.spec import members
from janus_vit.reproduction.published import cloud_costs, published_profile

GOOD = {
    "schema": "janus-vit/fleet/1",
    "model": "vit-large-384",
    "cloud": {"machine": "v100"},
    "devices": [
        {
            "name": "camera",
            "machine": "orin-nano",
            "sla_s": 0.3,
            "period_s": 0.3,
            "rtt_s": 0.02,
            "links": ["constant:20"],
        },
        {
            "name": "robot",
            "machine": "orin-nano",
            "slowdown": 0.5,
            "share": 3,
            "sla_s": 0.2,
            "period_s": 0.1,
            "rtt_s": 0.01,
            "links": ["lte-static", "wifi-static"],
        },
    ],
}


def written(tmp_path, change=lambda values: None):
    values = deepcopy(GOOD)
    change(values)
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(values))
    return path


def test_a_fleet_is_what_its_file_says(tmp_path):
    fleet = load_fleet(written(tmp_path))
    camera, robot = fleet.kinds
    assert (camera.sla_s, camera.period_s, camera.rtt_s, camera.share, camera.links) == (
        0.3,
        0.3,
        0.02,
        1,
        ("constant:20",),
    )
    nano = published_profile("orin-nano", "vit-large-384")
    assert camera.profile == nano
    assert robot.profile == nano.slowed(0.5)
    assert fleet.cloud.costs == cloud_costs("v100", "vit-large-384")
    assert fleet.accuracy is not None


def test_a_cloud_of_ones_own_has_a_profile_and_a_cost_table(tmp_path):
    published_profile("v100", "vit-large-384").save(tmp_path / "profile.json")
    cloud_costs("h100", "vit-large-384").save(tmp_path / "costs.json")
    own = {
        "name": "ours",
        "profile": "profile.json",
        "costs": "costs.json",
        "entry_blocks": [0, 12],
        "max_batch_frames": 8,
    }
    fleet = load_fleet(written(tmp_path, lambda values: values.update(cloud=own)))
    assert fleet.cloud.config.entries(24) == (0, 12, 24)
    assert fleet.cloud.config.max_batch_frames == 8


def test_a_cloud_whose_batches_do_not_pay_runs_frames_one_by_one_and_lets_them_enter_anywhere():
    one_by_one, batched = (published_cloud(machine, "vit-large-384").config for machine in ("v100", "h100"))
    assert (one_by_one.max_batch_frames, one_by_one.announced(24)) == (1, ())
    assert batched.announced(24) == batched.entries(24)


def _set(*path_and_value):
    *path, key, value = path_and_value

    def change(values):
        for step in path:
            values = values[step]
        values[key] = value

    return change


def _remove(*path):
    def change(values):
        for step in path[:-1]:
            values = values[step]
        del values[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _set("devices", 0, "machine", "abacus"),
            "devices[0].machine cannot be used (no published profile of 'abacus'",
        ),
        (_remove("devices", 0, "machine"), "devices[0].profile is missing"),
        (_set("cloud", {"name": "x", "profile": "p.json"}), "cloud.profile cannot be used"),
        (_set("cloud", "machine", "orin-nano"), "cloud.machine cannot be used"),
        (_set("devices", 1, "sla_s", 0), "devices[1].sla_s must be at least 0.001"),
        (_set("devices", 1, "sla_s", 1e300), "devices[1].sla_s must be at most 3600"),
        (_set("devices", 1, "period_s", 1e-9), "devices[1].period_s must be at least 0.001"),
        (_set("devices", 1, "rtt_s", 1e300), "devices[1].rtt_s must be at most 3600"),
        (_set("devices", 1, "slowdown", 1e300), "devices[1].slowdown must be at most 1e+06"),
        (_set("devices", 1, "share", 1e308), "devices[1].share must be at most 1e+06"),
        (_set("devices", 1, "name", "\x1b[2J"), "devices[1].name must be at most 200 characters that can be shown"),
        (_set("devices", 1, "share", -1), "devices[1].share must be at least 1e-06"),
        (_set("devices", 1, "period_s", "fast"), "devices[1].period_s must be a finite number"),
        (_set("devices", 1, "links", []), "devices[1].links must list"),
        (_set("devices", 1, "links", ["lte-driving"] * 10_000), "devices[1].links must list names or files of links"),
        (_set("devices", 1, "links", ["a\0b"]), "devices[1].links[0]: trace"),
        (_set("accuracy", "a\0b"), "accuracy cannot be used ("),
        (_set("devices", [{}] * 1_000), "devices must list from 1 to 32 kinds"),
        (_set("model", "x" * 10**6), "model cannot be used (model 'xxxxx"),
        (_set("cloud", "entry_blocks", [0] * 2_000), "cloud.entry_blocks must list at most 1000 blocks"),
        (_set("cloud", "max_batch_frames", 1e300), "cloud.max_batch_frames must be at most 4096"),
        (_set("devices", 1, "color", "red"), "devices[1].color is unknown"),
        (_set("devices", 1, "name", "camera"), "devices must have different names"),
        (_set("devices", []), "devices must list from 1 to 32 kinds"),
        (_set("model", "vit-huge"), "model cannot be used (model 'vit-huge' is unknown"),
        (_set("cloud", "entry_blocks", [30]), "cloud.entry_blocks cannot be used (entry_blocks lists block 30"),
        (_set("cloud", "entry_blocks", [8, 4]), "cloud.entry_blocks cannot be used"),
        (_set("cloud", "entry_blocks", ["a"]), "cloud.entry_blocks must list whole numbers"),
        (_set("cloud", "max_batch_frames", 0), "cloud.max_batch_frames must be at least 1"),
        (_remove("cloud"), "cloud is missing"),
        (_set("schema", "janus-vit/fleet/9"), "schema"),
    ],
)
def test_what_cannot_be_used_is_refused_by_file_and_field(tmp_path, change, said):
    with pytest.raises(InputError) as error:
        members(load_fleet(written(tmp_path, change)), 4, 1.0, seed=0)
    assert said in str(error.value)
    assert len(str(error.value)) < 1_000
    assert "fleet.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cloud_without_a_cost_table_is_refused(tmp_path):
    published_profile("v100", "vit-large-384").save(tmp_path / "profile.json")
    path = written(tmp_path, _set("cloud", {"name": "ours", "profile": "profile.json"}))
    with pytest.raises(InputError, match=r"fleet.json: field cloud.costs is missing"):
        load_fleet(path)


def test_a_profile_of_another_model_is_refused(tmp_path):
    published_profile("v100", "vit-base-224").save(tmp_path / "profile.json")
    path = written(tmp_path, _set("cloud", {"name": "ours", "profile": "profile.json", "costs": "c.json"}))
    with pytest.raises(InputError, match=r"cloud.profile was measured with model 'vit-base-224'"):
        load_fleet(path)


def test_a_link_that_is_shorter_than_the_run_is_refused_by_file_and_field(tmp_path):
    (tmp_path / "short.csv").write_text("# interval_s: 1\ntime_s,mbps\n0,10\n1,10\n2,10\n")
    fleet = load_fleet(written(tmp_path, _set("devices", 0, "links", ["short.csv"])))
    with pytest.raises(InputError, match=r"fleet.json: field devices\[0\].links\[0\]: .* lasts 3 s and the run 20 s"):
        members(fleet, 4, 20.0, seed=0)


def test_a_fleet_without_devices_is_refused():
    with pytest.raises(InputError, match="devices is 0: simulate at least 1"):
        members(mixed_fleet(), 0, 20.0, seed=0)


def test_kinds_get_their_shares_of_any_number_of_devices(tmp_path):
    fleet = load_fleet(written(tmp_path))
    for count, expected in ((4, (1, 3)), (1, (0, 1)), (6, (2, 4)), (400, (100, 300))):
        drawn = members(fleet, count, 1.0, seed=0)
        assert tuple(sum(member.kind.name == name for member in drawn) for name in ("camera", "robot")) == expected
        assert len({member.name for member in drawn}) == count


def test_a_machine_without_batches_measured_is_no_cloud():
    with pytest.raises(InputError, match="orin-nano"):
        published_cloud("orin-nano", "vit-large-384")
