"""Tokens that join in the middle of a model (EoMT's queries) count from the block that computes them on."""

import numpy as np
import pytest

from janus_vit.planning.plan import ModelShape, steps
from janus_vit.planning.policies.fleet import EngineSeconds
from janus_vit.planning.price import EnginePrice
from janus_vit.planning.schedules import make_schedule
from janus_vit.planning.table import build_table, make_options
from janus_vit.scheduling.costs import profile_costs
from janus_vit.scheduling.estimate import BatchCosts, full_batch_s
from janus_vit.simulation.least_costs import cloud_work

LATE, JOIN = 20, 4  # tokens that join after four of six blocks
SHAPE = ModelShape("late", 6, 65, 1, 32, (3, 64, 64), reads_grid=True, late_tokens=LATE, late_block=JOIN)
MERGES = (5, 5, 5, 5, 5, 5)
# Before and after the merge of each block.
BLOCKS = [(65, 60), (60, 55), (55, 50), (50, 45), (65, 60), (60, 55)]


@pytest.fixture
def table(make_profile):
    schedule = make_schedule("fixed", 5.0, SHAPE)
    assert schedule.applied == MERGES
    options = make_options(SHAPE, range(1, 8), ["float32"], [])
    return build_table(SHAPE, [schedule], options, make_profile(1e-5), make_profile(1e-5))


def test_the_device_pays_for_them_in_the_blocks_that_compute_them(table, make_profile):
    profile = make_profile(1e-5)
    each_s = [float(profile.block_seconds(*block, "quadratic")) for block in BLOCKS]
    np.testing.assert_allclose(table.device_s[0, :6], profile.stem_s + np.cumsum(each_s))
    np.testing.assert_allclose(table.cloud_s[0, :6], sum(each_s) - np.cumsum(each_s) + profile.head_s)


def test_they_cross_the_split_after_which_they_have_joined(table):
    counts = SHAPE.counts(MERGES)
    assert counts == (65, 60, 55, 50, 65, 60, 55)
    sent = table.size_bytes[0, :6]
    per_token = 32 * 4 + 2
    assert sent[3] - sent[2] == pytest.approx((LATE - 5) * per_token)


def test_the_work_that_plans_leave_to_the_cloud_counts_them(table):
    effective = [(before + 2 * after) / 3 for before, after in BLOCKS]
    left = [sum(effective[split:]) for split in range(1, 7)]
    np.testing.assert_allclose(cloud_work(table).tokens[0, :6], left)
    np.testing.assert_allclose(EngineSeconds(table).at(EnginePrice(token_s=1.0))[0, :6], left)


def test_a_job_of_the_cloud_has_them_from_the_block_that_computes_them_on(make_profile):
    assert steps(SHAPE.counts((0,) * 6)) == [(65, 65)] * 4 + [(85, 85)] * 2
    assert steps(SHAPE.counts(MERGES)) == [*BLOCKS[:3], (50, 50), *BLOCKS[4:]]  # its merge does not show
    costs = profile_costs(make_profile(1e-5), SHAPE)
    whole_s = full_batch_s(costs, SHAPE, 1)
    assert BatchCosts(costs, 6, 1).route(SHAPE.counts((0,) * 6)).alone_s[0] == pytest.approx(whole_s)
