"""The policy of devices that share a cloud: the price of the engine counts against plans that use it."""

from __future__ import annotations

from typing import Any

import numpy as np

from janus_vit.planning.latency import Floats, effective_tokens
from janus_vit.planning.policies.adaptive import Chances, MostAccurateInTime
from janus_vit.planning.policies.probing import HOPELESS
from janus_vit.planning.price import EnginePrice
from janus_vit.planning.table import PlanTable

_HASTE = 1.0  # what the whole time left counts among equal plans, if merging everything counts 1


class EngineSeconds:
    """Engine seconds of every plan of a table at a price; the vectorised form of `EnginePrice.of_frame`.

    Args:
        table: the plans.
    """

    def __init__(self, table: PlanTable) -> None:
        tokens = np.array([schedule.tokens for schedule in table.schedules], float)  # [levels, blocks + 1]
        late = table.shape.late_within
        work = np.cumsum(effective_tokens(tokens[:, :-1] + late, tokens[:, 1:] + late)[:, ::-1], axis=1)[:, ::-1]
        splits = np.array([option.split for option in table.options])
        blocks = table.shape.blocks
        self._sends = (splits <= blocks).astype(float)
        self._stems = (splits == 0).astype(float)
        self._blocks = np.maximum(blocks - splits, 0.0)
        self._tokens = np.pad(work, ((0, 0), (0, 2)))[:, splits]  # effective tokens of the remaining blocks, added up
        self._rates: tuple[float, ...] | None = None
        self._seconds = np.zeros_like(self._tokens)

    def at(self, price: EnginePrice) -> Floats:
        """Seconds [levels, options]; 0 for plans that send nothing."""
        rates = (price.stem_s, price.head_s, price.frame_s, price.token_s)
        if rates != self._rates:  # the price of an engine second changes more often than these
            per_frame_s = price.head_s * self._sends + price.stem_s * self._stems + price.frame_s * self._blocks
            self._rates, self._seconds = rates, per_frame_s + price.token_s * self._tokens
        return self._seconds


class MostRightForAll(MostAccurateInTime):
    """Maximise P * A minus the right answers that other devices lose by the engine seconds of the plan.

    While the engine has time to spare, its price is 0, and the policy decides as `MostAccurateInTime`. At a higher
    price, plans are compared by P * A - price * engine seconds. Plans whose difference is at most `resolution` count as
    equal. Among them the policy takes the one with the fewest engine seconds if these cost more than the measurement
    can tell apart; the less they cost, the more it prefers to merge little and to be fast. So demand falls gradually
    from the first price on, and not at once on all devices.

    A frame that no plan answers in time is finished on the device: it would take engine time from others for nothing.

    Without measured accuracy, P * A is the rank of a plan from 0 to 2, so that prices only order devices roughly.
    """

    def __init__(self, table: PlanTable, *arguments: Any, **options: Any) -> None:
        super().__init__(table, *arguments, **options)
        self._engine = EngineSeconds(table)
        self._merged = self._saved / max(1.0, self._saved.max())  # 1 for the schedule that merges most
        self._local = table.size_bytes == 0

    def _lost(self, price: EnginePrice) -> Floats | None:
        """See `MostAccurateInTime`."""
        return price.answers_per_s * self._engine.at(price) if price.answers_per_s else None

    def _pick(self, chances: Chances, lost: Floats | None) -> tuple[int, int]:
        """See `MostAccurateInTime`."""
        if lost is None:
            return super()._pick(chances, lost)
        best = self._most_useful(chances, lost)
        if chances.on_time.flat[best] < HOPELESS and self._local.any():
            best = int(np.where(self._local, self._value / chances.before_s, -1.0).argmax())
        return best // lost.shape[1], best % lost.shape[1]

    def _most_useful(self, chances: Chances, lost: Floats) -> int:
        """Flat index of the best plan.

        Args:
            chances: what is expected of every plan.
            lost: right answers that other devices lose by each plan, [levels, options].
        """
        useful = chances.worth - lost
        margin = self._resolution + 1e-6
        equal = np.flatnonzero(useful >= useful.max() - margin)
        total_s = chances.before_s.take(equal) + chances.after_s.take(equal)
        total_s += self._megabits.take(equal) / self._link.rate_mbps
        haste = np.clip(total_s / max(chances.time_left_s, 1e-3), 0.0, 1.0)
        taste = self._merged[equal // lost.shape[1]] + _HASTE * haste
        return int(equal[(lost.take(equal) + margin * taste).argmin()])
