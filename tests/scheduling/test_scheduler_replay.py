"""Frames in time beside other schedulers, in simulated traffic at 50 to 150 % of what the engine can serve."""

from functools import cache, lru_cache

import pytest
from scheduled_jobs import OPEN

from janus_vit.scheduling.costs import CostTable, constant_costs
from janus_vit.scheduling.scheduler import Scheduler
from janus_vit.simulation.arrivals import Traffic, table_engine
from janus_vit.simulation.baseline_schedulers import EarliestDeadlineBatches, FixedDelay, OneAtATime
from janus_vit.simulation.replay import End, replay

LARGEST = 32
LOADS = (0.5, 0.8, 1.0, 1.5)  # `benchmarks/scheduler.py` compares at more of them
VIT_L = CostTable(
    model="vit-large-384",
    frames=(1, LARGEST),
    tokens=(1.0, 577.0),
    block_s=tuple((45e-6, 45e-6 + count * 44.5e-6) for count in (1, LARGEST)),
    stem_s=(0.35e-3, 1.9e-3),
    head_s=(0.1e-3, 0.16e-3),
    merge_s=(0.0, 0.0),
)
KNOWN = constant_costs(2e-3, 1e-4, 12)
SCENARIOS = {
    "known engine, 30 ms": (KNOWN, Traffic(12, 197, (0,), (0.03,)), 0.5),
    "known engine, 8 ms": (KNOWN, Traffic(12, 197, (0,), (0.008,)), 0.5),
    "ViT-L, half at 12, 100 ms": (VIT_L, Traffic(24, 577, (0, 12), (0.1,)), 2.0),
    "ViT-L, half at 12, 50 to 300 ms": (VIT_L, Traffic(24, 577, (0, 12), (0.05, 0.1, 0.3)), 2.0),
    "ViT-L, any split, 50 to 300 ms": (VIT_L, Traffic(24, 577, (0, 0, 3, 6, 12, 17, 24), (0.05, 0.1, 0.3)), 2.0),
}


@lru_cache(maxsize=1)  # all schedulers see the same traffic
def arrivals(scenario, load):
    table, traffic, seconds = SCENARIOS[scenario]
    engine = table_engine(table, traffic.blocks, LARGEST)
    return traffic.jobs(load * traffic.capacity_hz(engine, LARGEST), seconds, seed=3), engine


def run_ours(scenario, load):
    table, traffic, _ = SCENARIOS[scenario]
    return replay(Scheduler(table, traffic.blocks, OPEN), *arrivals(scenario, load))


ours = cache(run_ours)  # several tests look at the same replay


def baselines(scenario):
    table, traffic, _ = SCENARIOS[scenario]
    return [
        OneAtATime(traffic.blocks),
        FixedDelay(traffic.blocks, 2e-3, (4, 8, 16, LARGEST)),
        EarliestDeadlineBatches(table, traffic.blocks, LARGEST),
    ]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_at_no_load_are_more_frames_in_time_with_another_scheduler(scenario):
    """Where all that come together hardly fit into 8 ms, refusing some of a burst costs up to five in a thousand."""
    for load in LOADS:
        mine = ours(scenario, load).share(End.IN_TIME)
        allowed = 0.005 if "8 ms" in scenario and load == 0.5 else 0.0
        for policy in baselines(scenario):
            other = replay(policy, *arrivals(scenario, load)).share(End.IN_TIME)
            assert mine >= other - allowed, (load, type(policy).__name__)


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if "8 ms" not in name])
@pytest.mark.parametrize("load", [0.5, 0.8, 0.9])
def test_up_to_90_percent_load_at_most_one_in_a_thousand_is_not_in_time(scenario, load):
    assert ours(scenario, load).share(End.IN_TIME) >= 0.999


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("load", [0.8, 1.0, 1.5])
def test_what_is_taken_is_answered_in_time(scenario, load):
    """Few are given up after they were taken, but where deadlines are hardly longer than the largest batch."""
    result = ours(scenario, load)
    assert result.share(End.LATE) == 0.0
    assert result.share(End.EXPIRED) <= (0.2 if "8 ms" in scenario else 0.04)


@pytest.mark.parametrize("scenario", ["known engine, 30 ms", "ViT-L, half at 12, 100 ms"])
def test_under_overload_the_engine_serves_as_many_as_it_can(scenario):
    for load in (1.1, 1.25, 1.5):
        assert ours(scenario, load).share(End.IN_TIME) >= 0.98 / load


def test_batches_grow_with_the_load():
    """At a load the engine is busy all the time with batches of n frames: n arrive while n run."""
    for load in (0.5, 0.8, 0.9):
        result = ours("known engine, 30 ms", load)
        rate_hz = load * LARGEST / 5.2e-3
        allowed = rate_hz * 2e-3 / (1 - rate_hz * 1e-4)
        assert result.mean_frames >= 0.5 * allowed


def test_frames_that_join_save_engine_time():
    result, apart = ours("ViT-L, half at 12, 100 ms", 0.8), baselines("ViT-L, half at 12, 100 ms")[2]
    assert result.busy_s < replay(apart, *arrivals("ViT-L, half at 12, 100 ms", 0.8)).busy_s


def test_a_replay_repeats_exactly():
    assert run_ours("ViT-L, any split, 50 to 300 ms", 1.25) == ours("ViT-L, any split, 50 to 300 ms", 1.25)
