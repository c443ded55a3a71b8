"""The oracle: for each frame, the best plan that meets the deadline when the future of the link is known.

Each frame is judged as if device and link were idle when it was captured. A real stream can only be worse: a plan that
begins later, behind other transfers, never ends earlier. If the SLA is no longer than the camera's period, a real
stream can reach this limit, because a frame that is in time ends before the next one is captured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_vit.links.traces import Trace
from janus_vit.planning.latency import Floats
from janus_vit.planning.table import PlanTable


@dataclass(frozen=True)
class OracleChoices:
    """The oracle's choices. All arrays are [frames].

    Attributes:
        row: row of the plan table; -1 where no plan is in time.
        column: column of the plan table; -1 where no plan is in time.
        total_s: time from capture to answer; infinite where no plan is in time.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    total_s: Floats

    @property
    def in_time(self) -> NDArray[np.bool_]:
        """Which frames could be answered inside the SLA."""
        return self.row >= 0


class Oracle:
    """Evaluates every plan of a table over a link whose future is known.

    Args:
        table: candidate plans with actual times: built with the "measured" curve.
        trace: the uplink's rate over time.
        rtt_s: round trip of the link.
    """

    def __init__(self, table: PlanTable, trace: Trace, rtt_s: float) -> None:
        self._shape = table.size_bytes.shape
        self._trace = trace
        self._size_bytes = np.round(table.size_bytes).ravel()
        self._before_s = (table.device_s + table.encode_s).ravel()
        self._after_s = (table.decode_s + table.cloud_s + rtt_s * (table.size_bytes > 0)).ravel()

    def total_s(self, captured_s: float) -> Floats:
        """Return the time from capture to answer under every plan, [levels, options]."""
        sent_s = captured_s + self._before_s
        arrived_s = self._trace.finish_times(sent_s, self._size_bytes)
        return (self._before_s + (arrived_s - sent_s) + self._after_s).reshape(self._shape)

    def choose(self, value: Floats, captured_s: Floats, sla_s: float) -> OracleChoices:
        """Choose the plan with the highest value that is in time, for each frame; the fastest of equal ones.

        Args:
            value: value of an answer by each plan, such as its accuracy, [levels, options].
            captured_s: when the frames were captured, [frames].
            sla_s: time allowed for each frame.
        """
        rows, columns = np.full(len(captured_s), -1), np.full(len(captured_s), -1)
        totals_s = np.full(len(captured_s), np.inf)
        for frame, at_s in enumerate(captured_s):
            total_s = self.total_s(float(at_s))
            in_time = total_s <= sla_s
            if not in_time.any():
                continue
            value_in_time = np.where(in_time, value, -np.inf)
            fastest = np.where(value_in_time == value_in_time.max(), total_s, np.inf).argmin()
            rows[frame], columns[frame] = np.unravel_index(fastest, self._shape)
            totals_s[frame] = total_s.ravel()[fastest]
        return OracleChoices(rows, columns, totals_s)

    def share_in_time(self, captured_s: Floats, sla_s: float) -> Floats:
        """Return the share of frames that each plan would answer in time, [levels, options].

        Args:
            captured_s: when the frames were captured, [frames].
            sla_s: time allowed for each frame.
        """
        return np.asarray(np.mean([self.total_s(float(at_s)) <= sla_s for at_s in captured_s], axis=0))
