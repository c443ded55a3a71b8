"""What no device can do: the oracle, which knows the link's future; the best fixed plan, which is known afterwards."""

from __future__ import annotations

import numpy as np

from janus_vit.errors import InputError
from janus_vit.planning.latency import Floats
from janus_vit.planning.link import HarmonicMean, RoundTrip
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.policies.base import Decision, Situation, predict
from janus_vit.planning.policies.presets import Platforms, policy_table
from janus_vit.planning.table import PlanTable, build_table
from janus_vit.simulation.arrays import Case, Frames, kind_of, run_policy
from janus_vit.simulation.oracle import Foresight

_TRIED = 6  # fixed plans that are simulated, of those that look best
_SAMPLE = 200  # frames by which they are sorted


def all_plans(platforms: Platforms) -> tuple[PlanTable, Floats]:
    """Every plan that any policy may choose, with the times that really pass, and what each is worth."""
    planned = policy_table("adaptive", platforms)
    table = build_table(
        platforms.shape, planned.schedules, planned.options, platforms.device, platforms.cloud, "measured"
    )
    if platforms.accuracy is None:  # nobody measured: the paper's order, less merging is better
        rows = np.arange(len(table.schedules), 0, -1.0) / len(table.schedules)
        return table, np.repeat(rows[:, None], len(table.options), axis=1)
    return table, np.nan_to_num(platforms.accuracy.of_plans(table), nan=0.0)


def _captures(case: Case) -> Floats:
    period_s = case.period_s or case.sla_s
    return np.arange(0.0, case.duration_s - 1e-9, period_s)


def oracle(case: Case) -> Frames:
    """The limit for any policy that chooses from the same plans.

    Raises:
        InputError: frames come back to back: then each policy has other frames, and nothing limits them all.
    """
    if case.period_s is None:
        raise InputError("the oracle needs a camera, since frames back to back are other frames for each policy")
    table, worth = all_plans(case.platforms)
    captured_s = _captures(case)
    chosen = Foresight(table, case.trace, case.platforms.rtt_s).choose(worth, captured_s, case.sla_s)
    found, row, column = chosen.in_time, chosen.row, chosen.column

    def pick(values: Floats) -> Floats:
        return np.where(found, values[row, column], 0.0)

    levels = np.array([table.plan(index, 0).exponential_level for index in range(len(table.schedules))])
    splits = np.array([option.split for option in table.options])
    kinds = np.array([kind_of(table.plan(0, index)) for index in range(len(table.options))])
    measured = case.platforms.accuracy is not None
    return Frames(
        case.sla_s,
        captured_s,
        chosen.total_s,
        pick(worth) if measured else np.full(len(captured_s), np.nan),
        pick(table.size_bytes),
        pick(table.device_s + table.encode_s),
        pick(table.cloud_s + table.decode_s),
        np.where(found, levels[row], 0.0),
        np.where(found, splits[column], 0),
        np.where(found, kinds[column], -1),
    )


def best_fixed(case: Case) -> Frames:
    """The best of the fixed plans that look best, each simulated as it is: with its drops and its rescues."""
    table, worth = all_plans(case.platforms)
    captured_s = _captures(case)
    some_s = captured_s[:: max(1, len(captured_s) // _SAMPLE)]
    promise = worth * Foresight(table, case.trace, case.platforms.rtt_s).in_time(some_s, case.sla_s)
    order = np.argsort(-promise.ravel(), kind="stable")[:_TRIED]
    cells = [divmod(int(cell), promise.shape[1]) for cell in order]
    local = next(column for column, option in enumerate(table.options) if option.payload == LOCAL)
    cells.append((0, local))
    tried = [run_policy(FixedPlan(table, row, column, case.platforms), case) for row, column in cells]
    return max(tried, key=_score)


def _score(frames: Frames) -> float:
    """Right and in time, or in time where nobody measured what is right."""
    value = float(frames.value.mean())
    return -float(frames.late.mean()) if np.isnan(value) else value


class FixedPlan:
    """A policy that has one plan."""

    def __init__(self, table: PlanTable, row: int, column: int, platforms: Platforms) -> None:
        self._table, self._row, self._column = table, row, column
        self._link, self._rtt = HarmonicMean(platforms.rate_mbps), RoundTrip(platforms.rtt_s)

    def observe(self, outcome: Outcome) -> None:
        """See `Policy`."""
        for transfer in outcome.transfers:
            self._link.observe(transfer)
            self._rtt.observe(transfer)

    def choose(self, situation: Situation) -> Decision:
        """See `Policy`."""
        cell = self._table, self._row, self._column
        predicted = predict(*cell, self._link.rate_mbps, self._rtt.seconds, situation.cloud_queue_s)
        return Decision(self._table.plan(self._row, self._column), predicted)
