"""The oracle against brute force: every plan for every frame, and every sequence of plans for a stream."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_vit.links.traces import Trace
from janus_vit.planning.policies.base import Decision, predict
from janus_vit.planning.policies.presets import policy_table
from janus_vit.planning.schedules import make_schedule
from janus_vit.planning.table import Option, build_table
from janus_vit.simulation.costs import Costs
from janus_vit.simulation.oracle import Oracle
from janus_vit.simulation.simulate import simulate

PERIOD_S = 0.1


def few_plans(platforms):
    """Six plans that differ in time, bytes and worth."""
    schedules = [make_schedule("exponential", level, platforms.shape) for level in (0.0, 0.5)]
    options = [Option(0, "jpeg90"), Option(2, "float16"), Option(7, "local")]
    return build_table(platforms.shape, schedules, options, platforms.device, platforms.cloud, "measured")


def link(rates):
    return Trace("link", 0.05, np.array([*rates, 1.0]), {})


@settings(deadline=None, max_examples=60)
@given(
    rates=st.lists(st.sampled_from([0.0, 0.3, 2.0, 10.0, 50.0]), min_size=3, max_size=40),
    starts=st.lists(st.floats(0, 30), min_size=1, max_size=20),
    size=st.integers(0, 200_000),
)
def test_many_transfers_at_once_end_as_each_alone(rates, starts, size):
    trace = link(rates)
    together = trace.finish_times(np.array(starts), np.full(len(starts), float(size)))
    assert together == pytest.approx([trace.finish_time(start, size) for start in starts], abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    rates=st.lists(st.sampled_from([0.0, 0.3, 2.0, 10.0]), min_size=3, max_size=20),
    sla_s=st.sampled_from([0.02, 0.05, 0.1]),
    seed=st.integers(0, 99),
)
def test_it_takes_the_most_valuable_plan_that_is_in_time(make_platforms, rates, sla_s, seed):
    platforms, trace = make_platforms(), link(rates)
    table = few_plans(platforms)
    value = np.random.default_rng(seed).random(table.size_bytes.shape)
    captured_s = np.arange(8) * PERIOD_S
    chosen = Oracle(table, trace, platforms.rtt_s).choose(value, captured_s, sla_s)
    costs = Costs(platforms)
    for frame, at_s in enumerate(captured_s):
        best = 0.0
        for row, column in np.ndindex(value.shape):
            cost = costs[table.plan(row, column)]
            sent_s = at_s + cost.device_s + cost.encode_s
            arrived_s = trace.finish_time(sent_s, cost.size_bytes)
            rtt_s = platforms.rtt_s if cost.size_bytes else 0.0
            if arrived_s - at_s + rtt_s + cost.decode_s + cost.cloud_s <= sla_s:
                best = max(best, value[row, column])
        found = value[chosen.row[frame], chosen.column[frame]] if chosen.in_time[frame] else 0.0
        assert found == best


class Scripted:
    """A policy that knows beforehand which cell of the table each frame takes."""

    def __init__(self, table, cells):
        self._table, self._cells, self._frame = table, cells, 0

    def observe(self, outcome):
        self._frame += 1

    def choose(self, situation):
        row, column = self._cells[min(self._frame, len(self._cells) - 1)]
        return Decision(self._table.plan(row, column), predict(self._table, row, column, 5.0, 0.02, 0.0))


@pytest.mark.parametrize(("sla_s", "frames"), [(0.04, 3), (0.1, 4), (0.15, 4)])
def test_no_sequence_of_plans_in_the_real_loop_beats_it(platforms, sla_s, frames, monkeypatch):
    costs, table = Costs(platforms), few_plans(platforms)
    monkeypatch.setattr("janus_vit.simulation.simulate.Costs", lambda _: costs)  # those of a plan never change
    value = np.array([[0.9, 0.95, 1.0], [0.6, 0.7, 0.8]])
    trace = link([5.0, 0.0, 0.0, 0.4, 8.0, 1.0, 0.0])
    captured_s = np.arange(frames) * PERIOD_S
    chosen = Oracle(table, trace, platforms.rtt_s).choose(value, captured_s, sla_s)
    limit = sum(value[chosen.row[frame], chosen.column[frame]] for frame in np.flatnonzero(chosen.in_time))
    cells = list(np.ndindex(value.shape))
    worth = {plan: value[cell] for cell in cells for plan in [table.plan(*cell)]}
    best = 0.0
    for script in itertools.product(cells, repeat=frames):
        stream = simulate(Scripted(table, script), platforms, trace, sla_s, (frames - 0.5) * PERIOD_S, PERIOD_S)
        best = max(best, sum(worth[outcome.plan] for outcome in stream if outcome.met and not outcome.fallback))
    assert best <= limit + 1e-9
    if sla_s <= PERIOD_S:
        assert best == pytest.approx(limit)


def test_its_share_of_frames_in_time_is_that_of_each_plan_alone(platforms):
    table = policy_table("cloud-only", platforms)
    dead_half = Trace("half", 1.0, np.array([20.0, 0.0]), {})
    share = Oracle(table, dead_half, platforms.rtt_s).share_in_time(np.arange(0, 2, 0.1), 0.3)
    # Ten frames of the live second; of the dead one those whose wait, at most 0.2 s, leaves room for the transfer.
    assert share[0, 0] == pytest.approx(12 / 20)
