"""Learned schedules against brute force."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from janus_vit.planning.learned import Losses, learn
from janus_vit.planning.plan import ModelShape

SHAPE = ModelShape("tiny", 3, 9, 1, 8, (3, 16, 16))


def block_s(fixed_merge_s):
    return lambda before, after: (
        1e-3 + 1e-4 * np.asarray(after) + np.where(np.asarray(before) > np.asarray(after), fixed_merge_s, 0.0)
    )


def losses(rng):
    shares = np.array([0.0, 0.25, 0.5])
    return Losses(shares, np.concatenate([np.zeros((3, 1)), np.sort(rng.uniform(0, 1, (3, 2)), axis=1)], axis=1))


def all_schedules():
    for merges in itertools.product(range(5), repeat=SHAPE.blocks):
        left = SHAPE.tokens
        for merged in merges:
            if merged > (left - SHAPE.protected) // 2:
                break
            left -= merged
        else:
            yield merges


def cost(merges, measured, seconds):
    left, time_s, loss = SHAPE.tokens, 0.0, 0.0
    for block, merged in enumerate(merges):
        time_s += float(seconds(left, left - merged))
        share = merged / (left - SHAPE.protected)
        loss += float(np.interp(share, measured.shares, measured.by_block[block]))
        left -= merged
    return time_s, loss


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("merge_s", [0.0, 3e-4])
def test_no_schedule_is_both_faster_and_less_lossy_than_a_learned_one(seed, merge_s):
    measured, seconds = losses(np.random.default_rng(seed)), block_s(merge_s)
    every = [cost(merges, measured, seconds) for merges in all_schedules()]
    for schedule in learn(SHAPE, measured, seconds, count=20):
        time_s, loss = cost(schedule.applied, measured, seconds)
        assert not any(other_s < time_s - 1e-9 and other < loss - 1e-9 for other_s, other in every)


def test_last_block_merges_nothing_if_the_head_reads_few_tokens():
    measured, seconds = losses(np.random.default_rng(1)), block_s(0.0)
    measured.by_block[-1] = 0.0
    plain, read = (
        learn(replace(SHAPE, head_tokens=head_tokens), measured, seconds, count=20) for head_tokens in (None, 1)
    )
    assert all(schedule.applied[-1] for schedule in plain[1:])
    assert not any(schedule.applied[-1] for schedule in read)
    assert read[-1].applied[:-1] == (4, 2)  # the fastest
    times_s = [seconds(9, 9), seconds(9, 9), seconds(3, 3)]  # of the last block, (9 + 3) / 4 tokens
    fastest_s = [seconds(9, 5), seconds(5, 3), seconds(1.5, 1.5)]
    assert read[-1].level == pytest.approx(1 - sum(fastest_s) / sum(times_s), abs=1e-4)


def test_levels_rise_from_no_merging_and_equal_the_time_saved():
    measured, seconds = losses(np.random.default_rng(1)), block_s(1e-4)
    schedules = learn(SHAPE, measured, seconds, count=6)
    assert schedules[0].applied == (0, 0, 0)
    assert schedules[0].level == 0.0
    assert 2 <= len(schedules) <= 6
    unmerged_s = cost((0, 0, 0), measured, seconds)[0]
    for schedule, following in itertools.pairwise(schedules):
        assert schedule.level < following.level
    for schedule in schedules:
        saved = 1 - cost(schedule.applied, measured, seconds)[0] / unmerged_s
        assert schedule.level == pytest.approx(saved, abs=1e-4)


def test_nothing_merges_if_merging_costs_more_than_it_saves():
    measured = losses(np.random.default_rng(2))
    assert [schedule.applied for schedule in learn(SHAPE, measured, block_s(1.0), count=5)] == [(0, 0, 0)]


def test_expensive_merging_happens_in_few_blocks():
    measured = Losses(np.array([0.0, 0.5]), np.array([[0.0, 1e-6]] * 3))
    cheap, dear = (learn(SHAPE, measured, block_s(merge_s), count=5)[-1].applied for merge_s in (0.0, 1.5e-4))
    assert sum(merged > 0 for merged in dear) < sum(merged > 0 for merged in cheap)
