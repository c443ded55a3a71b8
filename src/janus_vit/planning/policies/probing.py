"""When to probe the link: while frames stay on the device, nothing else shows that the link has recovered."""

from __future__ import annotations

from janus_vit.planning.outcome import Outcome
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.table import PlanTable

PROBE_BYTES = 16_000
PROBE_EVERY_S = 0.5
PROBE_IN_NEED_S = 0.1  # while only the link can bring frames in time again
_NEEDY_FRAMES = 100  # after so many frames in need, no link is likely to help: probe as rarely as usual
HOPELESS = 0.02  # a plan that is less likely to be in time counts as late


class ProbeTimer:
    """Requests a probe when the link was not used or probed for a while.

    Args:
        table: plans of the policy; without a plan that sends something, no probe is ever requested.
    """

    def __init__(self, table: PlanTable) -> None:
        self._uses_link = bool((table.size_bytes > 0).any())
        self._last_transfer_s: float | None = None
        self._in_need = 0  # frames in a row that nothing could bring in time

    def observe(self, outcome: Outcome) -> None:
        """Note when the link was last used, and whether the frame could be in time."""
        on_time = outcome.predicted.on_time
        self._in_need = self._in_need + 1 if on_time is not None and on_time < HOPELESS else 0
        for transfer in outcome.transfers:
            self._last_transfer_s = transfer.at_s

    def bytes_due(self, plan: Plan, situation: Situation, is_late_anyway: bool = False) -> int:
        """Size of the probe to send together with a frame; 0 if none is due.

        Args:
            plan: plan of the frame.
            situation: when it was made.
            is_late_anyway: whether no plan is in time, so that a link that recovers must be noticed soon.
        """
        if not (self._uses_link and plan.is_local):
            return 0
        uses_s = [at_s for at_s in (self._last_transfer_s, situation.last_probe_s) if at_s is not None]
        is_needed = is_late_anyway and self._in_need < _NEEDY_FRAMES
        every_s = PROBE_IN_NEED_S if is_needed else PROBE_EVERY_S
        return PROBE_BYTES if not uses_s or situation.now_s - max(uses_s) >= every_s else 0
