"""The paper's scheduler, Algorithm 1. The paper's baselines are the same algorithm on a table of fewer plans."""

from __future__ import annotations

import numpy as np

from janus_vit.planning.latency import Floats
from janus_vit.planning.link import HarmonicMean, RoundTrip
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.policies.base import Decision, Situation, predict
from janus_vit.planning.policies.probing import ProbeTimer
from janus_vit.planning.table import PlanTable

_ROUNDING = 1e-9  # relative difference of sums that are equal but for their order


class SmallestLevel:
    """The smallest pruning level that meets the SLA, at its fastest split (Algorithm 1).

    If no level meets the SLA, the fastest level at its fastest split. In the paper that is always the largest one; on a
    machine where merging costs more than it saves it is another one.

    Args:
        table: plans to choose from, levels ascending.
        link: estimate of the bandwidth.
        rtt_s: round trip before any observation.
    """

    def __init__(self, table: PlanTable, link: HarmonicMean, rtt_s: float) -> None:
        self._table = table
        self._link = link
        self._rtt = RoundTrip(rtt_s)
        self._probes = ProbeTimer(table)
        self._before_s = table.device_s + table.encode_s
        self._compute_s = table.device_s + table.encode_s + table.cloud_s + table.decode_s
        self._megabits = table.link_bytes * 8e-6
        self._uses_link = (table.size_bytes > 0).astype(float)

    def observe(self, outcome: Outcome) -> None:
        """Learn from the frame's transfers."""
        for transfer in outcome.transfers:
            self._link.observe(transfer)
            self._rtt.observe(transfer)
        self._probes.observe(outcome)

    def choose(self, situation: Situation) -> Decision:
        """Run Algorithm 1."""
        rtt_s, rate_mbps = self._rtt.seconds, self._link.rate_mbps
        wait_s = rtt_s + situation.cloud_queue_s + np.maximum(0.0, situation.uplink_busy_s - self._before_s)
        total_s = self._compute_s + self._megabits / rate_mbps + self._uses_link * wait_s
        row, column = smallest_level(total_s, situation.time_left_s)
        plan = self._table.plan(row, column)
        predicted = predict(
            self._table,
            row,
            column,
            rate_mbps=rate_mbps,
            rtt_s=rtt_s,
            queue_s=situation.cloud_queue_s,
            uplink_busy_s=situation.uplink_busy_s,
        )
        return Decision(plan, predicted, self._probes.bytes_due(plan, situation))


def smallest_level(total_s: Floats, sla_s: float) -> tuple[int, int]:
    """Row and column that Algorithm 1 chooses.

    Args:
        total_s: predicted latency of each plan, [levels, options], levels ascending.
        sla_s: time allowed.
    """
    fastest_s = total_s.min(axis=1)
    meets = fastest_s <= sla_s
    nearly_fastest = np.flatnonzero(fastest_s <= fastest_s.min() * (1 + _ROUNDING))
    row = int(meets.argmax()) if meets.any() else int(nearly_fastest[-1])
    return row, int(total_s[row].argmin())
