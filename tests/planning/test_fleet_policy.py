"""The policy that pays for engine seconds: the same as `adaptive` at a price of 0, brute force at any other."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_vit.planning.link import RateForecast
from janus_vit.planning.policies.adaptive import MostAccurateInTime
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.fleet import EngineSeconds, MostRightForAll
from janus_vit.planning.policies.presets import make_policy, policy_table
from janus_vit.planning.price import LARGEST_PRICE, EnginePrice

ENGINE = EnginePrice(stem_s=1e-3, head_s=5e-4, frame_s=2e-4, token_s=3e-5)
PRICES = st.floats(-2, 4).map(lambda exponent: 10**exponent)
SITUATIONS = st.builds(
    Situation, now_s=st.just(0.0), time_left_s=st.floats(0.001, 0.5), cloud_queue_s=st.floats(0.0, 0.1)
)


def at(situation, answers_per_s):
    return dataclasses.replace(situation, price=dataclasses.replace(ENGINE, answers_per_s=answers_per_s))


def policies(platforms, kinds=(MostRightForAll,), resolution=0.0, seed=5):
    """Policies with random accuracies: a mean that falls with the level, and noise."""
    table = policy_table("adaptive-fleet", platforms)
    noise = np.random.default_rng(seed).uniform(-0.02, 0.02, table.size_bytes.shape)
    accuracy = 0.9 - 0.3 * np.linspace(0, 1, len(noise))[:, None] ** 2 + noise
    link = RateForecast(platforms.rate_mbps)
    made = [kind(table, link, platforms.rtt_s, accuracy, accuracy - 0.01, resolution=resolution) for kind in kinds]
    return table, made


def cell(table, plan):
    row = next(
        row for row, each in enumerate(table.schedules) if (each.level, each.applied) == (plan.level, plan.merges)
    )
    column = next(i for i, each in enumerate(table.options) if (each.split, each.payload) == (plan.split, plan.payload))
    return row, column


def seconds_of(table, row, column):
    split = table.options[column].split
    if split > table.shape.blocks:
        return 0.0
    return ENGINE.of_frame(split, table.schedules[row].tokens[split:])


def worth_of(policy, situation):
    """What the selfish policy maximises, for every plan, also for those that cannot be the best."""
    found = {}

    def pick(chances, lost):
        found["worth"], found["on_time"] = chances.worth, chances.on_time
        return 0, 0

    policy._pick, policy._most = pick, np.full_like(policy._most, np.inf)
    policy.choose(situation)
    del policy._pick
    return found["worth"], found["on_time"]


def test_engine_seconds_are_those_of_each_frame_alone(platforms):
    table = policy_table("adaptive-fleet", platforms)
    seconds = EngineSeconds(table).at(ENGINE)
    for row in range(len(table.schedules)):
        for column in range(len(table.options)):
            assert seconds[row, column] == pytest.approx(seconds_of(table, row, column))
    assert (seconds == 0).any()


def test_engine_seconds_follow_a_new_price(platforms):
    engine = EngineSeconds(policy_table("adaptive-fleet", platforms))
    first = engine.at(ENGINE)
    assert engine.at(dataclasses.replace(ENGINE, answers_per_s=7.0)) is first
    doubled = EnginePrice(2 * ENGINE.stem_s, 2 * ENGINE.head_s, 2 * ENGINE.frame_s, 2 * ENGINE.token_s)
    np.testing.assert_allclose(engine.at(doubled), 2 * first)


@settings(max_examples=100)
@given(situation=SITUATIONS, resolution=st.sampled_from([0.0, 0.01]), seed=st.integers(0, 9))
def test_an_engine_with_time_to_spare_changes_no_decision(make_platforms, situation, resolution, seed):
    _, (selfish, fleet) = policies(make_platforms(), (MostAccurateInTime, MostRightForAll), resolution, seed)
    assert fleet.choose(at(situation, 0.0)) == selfish.choose(situation)


@settings(max_examples=50)
@given(situation=SITUATIONS)
def test_it_decides_as_adaptive_also_without_measured_accuracy(make_platforms, situation):
    platforms = make_platforms()
    selfish, fleet = make_policy("adaptive", platforms), make_policy("adaptive-fleet", platforms)
    assert fleet.choose(at(situation, 0.0)) == selfish.choose(situation)


@settings(max_examples=100)
@given(situation=SITUATIONS, price=PRICES, seed=st.integers(0, 9))
def test_no_plan_is_worth_more_after_its_engine_seconds_are_paid(make_platforms, situation, price, seed):
    table, (policy,) = policies(make_platforms(), seed=seed)
    row, column = cell(table, policy.choose(at(situation, price)).plan)
    worth, on_time = worth_of(policy, situation)
    rows, columns = worth.shape
    useful = [[worth[r, c] - price * seconds_of(table, r, c) for c in range(columns)] for r in range(rows)]
    best = np.unravel_index(np.argmax(useful), worth.shape)
    if on_time[best] < 0.02:
        assert table.options[column].split > table.shape.blocks
    else:
        assert useful[row][column] >= useful[best[0]][best[1]] - 3e-6


@settings(max_examples=50)
@given(situation=SITUATIONS, prices=st.lists(PRICES, min_size=2, max_size=4), seed=st.integers(0, 9))
def test_a_higher_price_never_takes_more_engine_seconds(make_platforms, situation, prices, seed):
    table, (policy,) = policies(make_platforms(), seed=seed)
    plans = [policy.choose(at(situation, price)).plan for price in sorted(prices)]
    taken_s = [seconds_of(table, *cell(table, plan)) for plan in plans]
    assert all(later <= earlier + 1e-9 for earlier, later in zip(taken_s, taken_s[1:], strict=False))


def test_a_frame_that_nothing_answers_in_time_stays_on_the_device(platforms):
    _, (policy,) = policies(platforms)
    hopeless = Situation(0.0, 0.001)
    assert policy.choose(at(hopeless, 1e-2)).plan.is_local


def test_a_table_without_local_plans_still_gives_one(platforms):
    table = policy_table("adaptive-fleet", platforms)
    sending = table.only([index for index, option in enumerate(table.options) if option.split <= table.shape.blocks])
    policy = MostRightForAll(sending, RateForecast(10.0), 0.02)
    for time_left_s in (0.001, 0.1):
        assert not policy.choose(at(Situation(0.0, time_left_s), LARGEST_PRICE)).plan.is_local


def equal_plans(platforms):
    """A policy to which all plans in time are equally accurate, and its table."""
    table = policy_table("adaptive-fleet", platforms)
    accuracy = np.full(table.size_bytes.shape, 0.8)
    return table, MostRightForAll(
        table, RateForecast(platforms.rate_mbps), platforms.rtt_s, accuracy, accuracy, resolution=0.02
    )


def test_among_equal_plans_a_dear_engine_is_used_least_and_a_cheap_one_by_taste(platforms):
    table, policy = equal_plans(platforms)
    relaxed = Situation(0.0, 1.0)
    free = policy.choose(at(relaxed, 0.0)).plan
    assert not free.is_local
    assert sum(free.merges) == 0
    assert policy.choose(at(relaxed, 1e-4)).plan == free
    dear = [policy.choose(at(relaxed, price)).plan for price in np.geomspace(1e-4, 1e2, 40)]
    assert dear[-1].is_local
    taken_s = [seconds_of(table, *cell(table, plan)) for plan in dear]
    assert taken_s == sorted(taken_s, reverse=True)


def test_sending_never_loses_to_the_device_by_more_than_the_measurement_can_tell(platforms):
    resolution = 0.01
    table, (policy,) = policies(platforms, resolution=resolution)
    local = table.size_bytes == 0
    engine_s = EngineSeconds(table).at(ENGINE)
    sent = 0
    for time_left_s in np.linspace(0.01, 0.4, 40):
        for price in np.geomspace(0.01, 1e4, 12):
            situation = Situation(0.0, time_left_s)
            plan = policy.choose(at(situation, price)).plan
            if plan.is_local:
                continue
            sent += 1
            worth, _ = worth_of(policy, situation)
            useful = worth - price * engine_s
            assert useful[cell(table, plan)] >= useful[local].max() - resolution - 3e-6
    assert sent > 20
