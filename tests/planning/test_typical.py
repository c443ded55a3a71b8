"""Without a table, plans are ordered by the losses that were measured on a real model."""

import numpy as np
import pytest

from janus_vit.planning.accuracy.typical import typical_losses
from janus_vit.planning.plan import tokens_saved
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.presets import make_policy, policy_table


@pytest.fixture
def losses(platforms):
    """Loss by level, split and payload."""
    table = policy_table("adaptive", platforms)
    found = typical_losses(table)
    return {
        (schedule.level, option.split, option.payload): found[row, column]
        for row, schedule in enumerate(table.schedules)
        for column, option in enumerate(table.options)
    }


def test_what_is_lossless_loses_nothing_and_more_merging_loses_more(platforms, losses):
    for payload, split in (("local", 7), ("float32", 3), ("tensor", 0), ("png", 0)):
        assert losses[0.0, split, payload] == 0.0
    table = policy_table("adaptive", platforms)
    saved = [tokens_saved(schedule.applied) for schedule in table.schedules]
    assert np.all(np.diff(saved) > 0)
    assert np.all(np.diff(typical_losses(table), axis=0) > 0)


def test_losses_add_up(losses):
    assert losses[4.0, 3, "int4"] == pytest.approx(losses[4.0, 3, "float32"] + losses[0.0, 3, "int4"])


def test_formats_lose_what_they_lost_on_the_real_model(losses):
    assert losses[0.0, 1, "int4"] > 10 * losses[0.0, 0, "jpeg90"]  # early activations have outlier channels
    assert losses[0.0, 3, "int8"] < losses[1.0, 3, "float32"]  # before anything merges
    assert losses[0.0, 3, "int4"] < losses[0.0, 1, "int4"]


def test_planner_takes_the_plan_in_time_that_loses_least(platforms, losses):
    import dataclasses

    for rate_mbps in (0.5, 2.0, 8.0, 32.0):
        decision = make_policy("adaptive", dataclasses.replace(platforms, rate_mbps=rate_mbps)).choose(
            Situation(0.0, 0.1)
        )
        plan = decision.plan
        assert plan.family == "fixed"
        assert decision.predicted.on_time >= 0.95
        assert losses[plan.level, plan.split, plan.payload] <= losses[0.0, 1, "int4"]
