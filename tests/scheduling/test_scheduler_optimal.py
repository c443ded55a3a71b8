"""The scheduler beside every possible schedule of a few jobs."""

import dataclasses
import random
from functools import cache
from itertools import combinations

import pytest
from scheduled_jobs import BLOCKS, OPEN, make_job, make_scheduler, seconds

from janus_vit.scheduling.job import Batch
from janus_vit.simulation.replay import End, replay

ENTRIES = (0, 6, BLOCKS)
CONFIG = dataclasses.replace(OPEN, entry_blocks=ENTRIES)


def most_in_time(jobs, fixed_s, per_frame_s):
    """The most jobs that any order of batches answers in time; any subset may run, in any batches."""

    @cache
    def best(now_s, positions):
        most = 0
        for start in {position for position in positions if position is not None}:
            standing = [index for index, at in enumerate(positions) if at == start and jobs[index].deadline_s > now_s]
            subsets = (each for count in range(1, len(standing) + 1) for each in combinations(standing, count))
            for chosen in subsets:
                for stop in (entry for entry in ENTRIES if entry > start):
                    batch = Batch(tuple(jobs[index] for index in chosen), start, stop)
                    end_s = round(now_s + seconds(batch, fixed_s, per_frame_s), 9)
                    complete = stop == BLOCKS
                    in_time = sum(end_s <= jobs[index].deadline_s for index in chosen) if complete else 0
                    moved = [None if complete else stop] * len(chosen)
                    after = list(positions)
                    for index, position in zip(chosen, moved, strict=True):
                        after[index] = position
                    most = max(most, in_time + best(end_s, tuple(after)))
        return most

    return best(0.0, tuple(job.entry for job in jobs))


def random_cases(fixed_s, per_frame_s, count=400):
    generator = random.Random(7)
    for _ in range(count):
        yield [
            make_job(number, generator.uniform(0.3, 4) * (fixed_s + per_frame_s), entry=generator.choice((0, 0, 6)))
            for number in range(generator.randint(1, 4))
        ]


def compare(fixed_s, per_frame_s):
    """Jobs in time and the most possible, over all cases; cases in which all can be in time, and are."""
    ours = possible = feasible = met = 0
    for jobs in random_cases(fixed_s, per_frame_s):
        scheduler = make_scheduler(CONFIG, fixed_s, per_frame_s)
        outcomes = replay(scheduler, jobs, lambda batch: seconds(batch, fixed_s, per_frame_s)).outcomes
        in_time, most = sum(each.end is End.IN_TIME for each in outcomes), most_in_time(jobs, fixed_s, per_frame_s)
        assert in_time <= most, jobs
        ours, possible = ours + in_time, possible + most
        feasible += most == len(jobs)
        met += most == len(jobs) == in_time
    return ours, possible, met, feasible


def test_without_gain_from_batches_all_deadlines_are_met_if_they_can_be():
    """There the earliest deadline first is optimal: an engine that can be interrupted, one job at a time."""
    ours, possible, met, feasible = compare(0.0, 1e-3)
    assert met == feasible > 100
    assert ours >= 0.995 * possible


@pytest.mark.parametrize(
    ("fixed_s", "per_frame_s", "share", "feasible_share"),
    [(2e-3, 1e-4, 0.99, 0.98), (1e-3, 1e-3, 0.97, 0.95), (1e-4, 1e-3, 0.97, 0.94)],
)
def test_with_batches_few_deadlines_are_lost_beside_the_best_schedule(fixed_s, per_frame_s, share, feasible_share):
    """Which jobs to put into one batch is a hard problem: the earliest deadline first is not optimal there."""
    ours, possible, met, feasible = compare(fixed_s, per_frame_s)
    assert ours >= share * possible
    assert met >= feasible_share * feasible
