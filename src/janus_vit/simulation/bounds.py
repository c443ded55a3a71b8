"""Reference results that no device can reach: the oracle, which knows the link's future, and the best fixed plan."""

from __future__ import annotations

import numpy as np

from janus_vit.errors import InputError
from janus_vit.planning.latency import Floats
from janus_vit.planning.link import HarmonicMean, RoundTrip
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Decision, Situation, predict
from janus_vit.planning.policies.presets import policy_table
from janus_vit.planning.table import PlanTable, build_table
from janus_vit.simulation.oracle import Oracle
from janus_vit.simulation.results import Case, FrameResults, payload_kind, run_policy

_CANDIDATES = 6  # fixed plans that are simulated, out of all
_SAMPLED_FRAMES = 200  # frames by which the candidates are chosen


def all_plans(platforms: Platforms) -> tuple[PlanTable, Floats]:
    """Return every plan that a policy may choose, with actual times, and the accuracy of each, [levels, options]."""
    planned = policy_table("adaptive", platforms)
    table = build_table(
        platforms.shape, planned.schedules, planned.options, platforms.device, platforms.cloud, "measured"
    )
    if platforms.accuracy is None:  # nothing measured: assume, as the paper does, that less merging is better
        rows = np.arange(len(table.schedules), 0, -1.0) / len(table.schedules)
        return table, np.repeat(rows[:, None], len(table.options), axis=1)
    return table, np.nan_to_num(platforms.accuracy.of_plans(table), nan=0.0)


def _capture_times(case: Case) -> Floats:
    period_s = case.period_s or case.sla_s
    return np.arange(0.0, case.duration_s - 1e-9, period_s)


def run_oracle(case: Case) -> FrameResults:
    """Return the results of the oracle, the upper bound of any policy that chooses from the same plans.

    Raises:
        InputError: the case has no camera. Back to back, each policy sees other frames, so no bound holds for all.
    """
    if case.period_s is None:
        raise InputError("the oracle needs a camera, since frames back to back are other frames for each policy")
    table, accuracy = all_plans(case.platforms)
    captured_s = _capture_times(case)
    chosen = Oracle(table, case.trace, case.platforms.rtt_s).choose(accuracy, captured_s, case.sla_s)
    found, row, column = chosen.in_time, chosen.row, chosen.column

    def pick(values: Floats) -> Floats:
        return np.where(found, values[row, column], 0.0)

    levels = np.array([table.plan(index, 0).exponential_level for index in range(len(table.schedules))])
    splits = np.array([option.split for option in table.options])
    kinds = np.array([payload_kind(table.plan(0, index)) for index in range(len(table.options))])
    return FrameResults(
        sla_s=case.sla_s,
        at_s=captured_s,
        total_s=chosen.total_s,
        accuracy=np.full(len(captured_s), np.nan) if case.platforms.accuracy is None else pick(accuracy),
        size_bytes=pick(table.size_bytes),
        device_s=pick(table.device_s + table.encode_s),
        cloud_s=pick(table.cloud_s + table.decode_s),
        level=np.where(found, levels[row], 0.0),
        split=np.where(found, splits[column], 0),
        kind=np.where(found, kinds[column], -1),
    )


def run_best_fixed(case: Case) -> FrameResults:
    """Return the results of the best fixed plan, chosen with hindsight.

    The most promising plans, and the unmerged local one, are simulated with their dropped frames and fallbacks.
    """
    table, accuracy = all_plans(case.platforms)
    captured_s = _capture_times(case)
    sample_s = captured_s[:: max(1, len(captured_s) // _SAMPLED_FRAMES)]
    promise = accuracy * Oracle(table, case.trace, case.platforms.rtt_s).share_in_time(sample_s, case.sla_s)
    order = np.argsort(-promise.ravel(), kind="stable")[:_CANDIDATES]
    cells = [divmod(int(cell), promise.shape[1]) for cell in order]
    local = next(column for column, option in enumerate(table.options) if option.payload == LOCAL)
    cells.append((0, local))
    tried = [run_policy(FixedPlan(table, row, column, case.platforms), case) for row, column in cells]
    return max(tried, key=_quality)


def _quality(results: FrameResults) -> float:
    """Return the share that is right and in time; without accuracy, minus the share that is late."""
    value = float(results.value.mean())
    return -float(results.late.mean()) if np.isnan(value) else value


class FixedPlan:
    """A policy that uses the same plan for every frame.

    Args:
        table: the plans.
        row: the plan's row.
        column: the plan's column.
        platforms: what is known of the link before the first frame.
    """

    def __init__(self, table: PlanTable, row: int, column: int, platforms: Platforms) -> None:
        self._table, self._row, self._column = table, row, column
        self._link, self._rtt = HarmonicMean(platforms.rate_mbps), RoundTrip(platforms.rtt_s)

    def observe(self, outcome: Outcome) -> None:
        """See `Policy.observe`."""
        for transfer in outcome.transfers:
            self._link.observe(transfer)
            self._rtt.observe(transfer)

    def choose(self, situation: Situation) -> Decision:
        """See `Policy.choose`."""
        cell = self._table, self._row, self._column
        predicted = predict(
            *cell,
            self._link.rate_mbps,
            self._rtt.seconds,
            situation.cloud_queue_s,
            uplink_busy_s=situation.uplink_busy_s,
        )
        return Decision(self._table.plan(self._row, self._column), predicted)
