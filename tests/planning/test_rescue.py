"""Rescue schedules against brute force over the blocks."""

import dataclasses

import numpy as np
import pytest

from janus_vit.model.catalog import load_model
from janus_vit.planning.latency import Cost, last_effective_tokens
from janus_vit.planning.plan import Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import policy_table
from janus_vit.planning.table import build_table


def finish_s(platforms, tokens, split):
    """Seconds of the blocks after the split, one by one."""
    profile, shape = platforms.device, platforms.shape
    total_s = profile.head_s + (profile.stem_s if split == 0 else 0.0)
    for block in range(split, shape.blocks):
        before, after = tokens[block], tokens[block + 1]
        if block == shape.blocks - 1 and shape.head_tokens is not None:
            assert before == after
            before = after = float(last_effective_tokens(before, shape.head_tokens))
        total_s += float(profile.block_seconds(before, after, "quadratic"))
    return total_s


def path(plan, tokens):
    left = [tokens]
    for merges in plan.merges[: plan.split] + plan.finishing:
        left.append(left[-1] - merges)
    return left


@pytest.fixture(params=[None, 1], ids=["head reads all", "head reads one"])
def platforms(request, make_platforms):
    plain = make_platforms()
    return dataclasses.replace(plain, shape=dataclasses.replace(plain.shape, head_tokens=request.param))


@pytest.fixture
def table(platforms):
    return policy_table("adaptive", platforms)


def sending(table):
    return [cell for cell in np.ndindex(table.size_bytes.shape) if table.size_bytes[cell] > 0]


def test_time_to_finish_is_that_of_the_plans_own_rescue_schedule(table, platforms):
    for cell in sending(table)[::7]:
        plan = table.plan(*cell)
        expected_s = finish_s(platforms, path(plan, platforms.shape.tokens), plan.split)
        assert table.finish_s[cell] == pytest.approx(expected_s)


def test_rescue_schedule_is_never_slower_than_the_planned_one(table, platforms):
    hurried = 0
    for cell in sending(table):
        plan = table.plan(*cell)
        planned = path(Plan(plan.family, plan.level, plan.merges, plan.split, plan.payload), platforms.shape.tokens)
        assert table.finish_s[cell] <= finish_s(platforms, planned, plan.split) + 1e-12
        hurried += plan.rescue is not None
    assert hurried > 100


def test_blocks_of_a_rescue_schedule_merge_no_more_than_they_can_or_need(table, platforms):
    target = table.schedules[table.rescue.target].tokens
    for cell in sending(table):
        plan = table.plan(*cell)
        left = path(plan, platforms.shape.tokens)
        assert len(left) == platforms.shape.blocks + 1
        for before, after in zip(left, left[1:], strict=False):
            assert 0 <= before - after <= (before - platforms.shape.protected) // 2
        assert left[-1] >= min(target[-1], table.schedules[cell[0]].tokens[-1])


def test_no_rescue_schedule_if_merging_costs_more_than_it_saves(platforms):
    costly = dataclasses.replace(platforms.device, merge=Cost(1.0, 0.0))
    table = policy_table("adaptive", dataclasses.replace(platforms, device=costly))
    assert all(table.plan(0, column).rescue is None for column in range(len(table.options)))


def test_rescue_schedule_never_follows_one_that_costs_too_much_accuracy(platforms):
    free = policy_table("adaptive", platforms)
    targets = [row != free.rescue.target for row in range(len(free.schedules))]
    sides = platforms.device, platforms.cloud
    table = build_table(platforms.shape, free.schedules, free.options, *sides, "quadratic", targets)
    assert table.rescue.target != free.rescue.target
    assert table.rescue.planned_s == pytest.approx(free.rescue.planned_s)


def test_planner_and_records_agree_on_the_accuracy_of_a_rescue(make_profile):
    model = load_model("janus-digits")
    sides = make_profile(2e-4, model="janus-digits"), make_profile(1e-5, model="janus-digits")
    table = policy_table("adaptive", Platforms(model.shape, *sides, 10.0, 0.02, model.accuracy))
    planned = model.accuracy.of_rescues(table)
    for cell in sending(table)[::41]:
        assert planned[cell] == pytest.approx(model.accuracy.share_of_answer(table.plan(*cell), True), nan_ok=True)


def test_plan_after_a_fallback_is_the_rescued_plan():
    plan = Plan("exponential", 0.1, (3, 2, 1), 1, "float16", (5, 4))
    assert plan.rescued == Plan("exponential", 0.1, (3, 5, 4), 4, "local")
    assert plan.rescued.rescued == plan.rescued
