"""Clouds as data: the files are what the script derives, and profile and cost table of a machine agree."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from janus_vit.errors import InputError
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.planning.table import Option, build_table
from janus_vit.reproduction.published import MACHINES, SHAPES, cloud_costs, published_profile
from janus_vit.scheduling.estimate import BatchCosts, full_batch_s

ROOT = Path(__file__).parents[2]
DATA = ROOT / "src/janus_vit/data/platforms"
CLOUDS = ("v100", "t4", "h100", "cpu")
MODELS = ("vit-large-384", "vit-base-224")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("derive_clouds", ROOT / "scripts/derive_clouds.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "derive_clouds", module)  # dataclasses look their module up
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def derived(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("derived")
    script.derive(folder)
    return folder


def test_one_command_writes_all_files_byte_for_byte(derived):
    names = sorted(path.name for path in derived.iterdir())
    assert len(names) == len(MODELS) * (len(CLOUDS) + 2)  # a cost table of each, and two profiles
    for name in names:
        assert (derived / name).read_bytes() == (DATA / name).read_bytes(), name


@pytest.mark.parametrize("model", MODELS)
def test_every_measured_number_of_an_h100_is_reproduced(script, model):
    shape, table = SHAPES[model], cloud_costs("h100", model)
    found = levels("exponential", shape)
    picked = [found[0], found[len(found) // 3], found[2 * len(found) // 3], found[-1]]
    costs = BatchCosts(table, shape.blocks, table.frames[-1])
    for frames, times_ms in script.H100[model].levels_ms.items():
        for level, ms in zip(picked, times_ms, strict=True):
            tokens = np.array(make_schedule("exponential", level, shape).tokens, float)
            work, merges = ((tokens[:-1] + 2 * tokens[1:]) / 3).sum(), (tokens[:-1] > tokens[1:]).sum()
            predicted_s = costs.segment_s(frames, 0, shape.blocks, frames * work, frames * merges)
            assert 1e3 * predicted_s == pytest.approx(ms, rel=0.05)
    for frames, rate in script.H100[model].frames_per_s.items():
        assert frames / full_batch_s(table, shape, frames) == pytest.approx(rate, rel=0.01)
    assert max(abs(each["error_percent"]) for each in table.about["fits"]) < 5


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("machine", "less", "more"),
    [("v100", 0.012, 0.001), ("t4", 0.012, 0.001), ("h100", 0.03, 0.012), ("cpu", 0.006, 0.11)],
)
def test_profile_and_cost_table_agree_for_one_frame(machine, less, more, model):
    """A cost table predicts from mean tokens, and that of the CPU charges merging in each block as at all tokens."""
    shape, profile = SHAPES[model], published_profile(machine, model)
    costs = BatchCosts(cloud_costs(machine, model), shape.blocks, 1)
    schedules = [make_schedule("exponential", level, shape) for level in levels("exponential", shape)]
    device = published_profile("orin-nano", model)
    for split in (0, shape.blocks // 3, 2 * shape.blocks // 3):
        option = Option(split, "float16" if split else "jpeg90")
        planned = build_table(shape, schedules, [option], device, profile, "measured").cloud_s[:, 0]
        for schedule, seconds in zip(schedules, planned, strict=True):
            assert -less <= costs.route(schedule.tokens[split:]).alone_s[0] / seconds - 1 <= more


@pytest.mark.parametrize("model", MODELS)
def test_payloads_are_decoded_by_the_cpu_of_a_server(model):
    expected = published_profile("v100", model).decode
    assert published_profile("t4", model).decode == expected
    assert published_profile("h100", model).decode == expected


@pytest.mark.parametrize("model", MODELS)
def test_only_the_h100_gains_from_batches(model):
    shape = SHAPES[model]
    for machine in CLOUDS:
        alone_s, batch_s = (full_batch_s(cloud_costs(machine, model), shape, frames) for frames in (1, 32))
        gain = 32 * alone_s / batch_s
        assert gain > 2 if machine == "h100" else gain == pytest.approx(1)


def test_clouds_rank_as_their_hardware_does():
    seconds = [full_batch_s(cloud_costs(machine, "vit-large-384"), SHAPES["vit-large-384"], 1) for machine in CLOUDS]
    v100, t4, h100, cpu = seconds
    assert h100 < v100 < t4 < cpu
    assert t4 / v100 == pytest.approx(900 / 320, rel=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_every_file_says_what_was_not_measured(model):
    for machine in CLOUDS:
        for part in (published_profile(machine, model), cloud_costs(machine, model)):
            assert part.model == model
            assert part.about["command"].startswith("python scripts/")
    for machine in ("v100", "t4"):
        assert "nothing is known" in cloud_costs(machine, model).about["batches"]
    assert "nothing was measured on a T4" in published_profile("t4", model).about["derived"]
    assert "has not run on a GPU" in cloud_costs("h100", model).about["measured"]
    assert "merging in batches" in cloud_costs("h100", model).about["not measured"]
    assert published_profile("cpu", model).about["threads"] == 1


def test_unknown_machines_and_missing_tables_name_the_known_ones():
    with pytest.raises(InputError, match=r"cost table of 'tpu'.*orin-nano, v100, t4, h100, cpu"):
        cloud_costs("tpu", "vit-large-384")
    with pytest.raises(InputError, match=r"cost table of 'orin-nano'.*: machines with one are v100, t4, h100, cpu"):
        cloud_costs("orin-nano", "vit-large-384")
    with pytest.raises(InputError, match=r"profile of 'h100' running 'st-mae-large': .*one are orin-nano, v100$"):
        published_profile("h100", "st-mae-large")


def test_every_machine_has_a_profile_of_both_image_models():
    for machine in MACHINES:
        assert all(isinstance(published_profile(machine, model), PlatformProfile) for model in MODELS)
