"""What is measured of a machine."""

import pytest
import torch
from conftest import small_model

from janus_vit.calibration.profiler import Effort, profile_machine
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.link import HarmonicMean, RateForecast
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import tokens_after_blocks
from janus_vit.planning.policies.adaptive import MostAccurateInTime
from janus_vit.planning.policies.algorithm1 import SmallestLevel
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.planning.table import Option, build_table

pytestmark = pytest.mark.usefixtures("rough_profiles")  # without pauses


class Watched(EagerEngine):
    """An engine that notes which blocks are run alone."""

    def __init__(self, model):
        super().__init__(model)
        self.alone = set()

    def run(self, activation, stop):
        if stop == activation.next_block + 1:
            self.alone.add(activation.next_block)
        return super().run(activation, stop)


@pytest.mark.parametrize(("changes", "measured"), [({}, {0, 1, 2, 3, 4}), ({"pooling": "mean"}, {0, 1, 2, 3, 4, 5})])
def test_blocks_are_timed_that_give_all_their_tokens(frames, changes, measured):
    model = small_model(**changes)
    engine = Watched(model)
    profile_machine(model, frames, engine, Effort(points=3, repeats=6, limit_s=60.0))
    assert engine.alone == measured


class SlowToMerge:
    """An engine whose clock is all that runs: blocks take a fixed time and some for each token, merging much more.

    Each call takes a while before it begins, as a launch on a GPU does.
    """

    name, precision = "slow-to-merge", "float32"
    launch_s, block_s, token_s = 1e-3, 1e-4, 1e-6

    def __init__(self, model, merge_s, device):
        self.model, self.merge_s, self.device, self.now_s = model, merge_s, torch.device(device), 0.0
        self.eager = EagerEngine(model)

    def embed(self, pixels, merges):
        self.now_s += 1e-4
        return self.eager.embed(pixels, merges)

    def head(self, activation):
        self.now_s += 1e-4
        return self.eager.head(activation)

    def run(self, activation, stop):
        counts = tokens_after_blocks(activation.tokens.shape[1], activation.merges[: stop - activation.next_block])
        self.now_s += self.launch_s
        for before, after in zip(counts, counts[1:], strict=False):
            self.now_s += self.block_s + self.token_s * (before + 2 * after) / 3 + self.merge_s * (before > after)
        return self.eager.run(activation, stop)

    def upload(self, tensor):
        return tensor


def profiled(model, frames, merge_s, device="cuda"):
    engine = SlowToMerge(model, merge_s, device)
    effort = Effort(points=5, repeats=3, limit_s=60.0)
    return profile_machine(model, frames, engine, effort, clock=lambda: engine.now_s)


def test_on_a_gpu_blocks_are_timed_within_a_run(frames):
    """What a launch takes is a frame's, not a block's."""
    model = small_model(depth=12)
    profile = profiled(model, frames, merge_s=5e-4)
    launched_s = SlowToMerge.launch_s / 11
    tokens = model.shape.tokens
    assert profile.quadratic.seconds(tokens) == pytest.approx(1e-4 + 1e-6 * tokens + launched_s, rel=0.02)
    assert profile.merge.seconds(tokens) == pytest.approx(5e-4, abs=launched_s)
    alone = profiled(model, frames, merge_s=5e-4, device="cpu")
    assert alone.quadratic.seconds(tokens) > SlowToMerge.launch_s


@pytest.mark.parametrize("policy", [SmallestLevel, MostAccurateInTime])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_level_that_is_slower_than_not_merging_is_never_planned_for_speed(frames, policy, device):
    """Whatever the deadline, one that no plan can meet included."""
    model = small_model(pooling="mean")
    for merge_s, merging_pays in ((1e-3, False), (0.0, True)):
        profile = profiled(model, frames, merge_s, device)
        schedules = [make_schedule("exponential", level, model.shape) for level in levels("exponential", model.shape)]
        local = [Option(model.shape.blocks + 1, LOCAL)]
        table = build_table(model.shape, schedules, local, profile, profile)
        fastest_s = table.device_s.min()
        assert (table.device_s[0, 0] > fastest_s) == merging_pays
        link = HarmonicMean(10.0) if policy is SmallestLevel else RateForecast(10.0)
        chosen = [
            policy(table, link, 0.02).choose(Situation(0.0, share * fastest_s)).plan.level
            for share in (0.01, 0.5, 0.9, 1.1, 2.0, 50.0)
        ]
        assert (max(chosen) > 0) == merging_pays
