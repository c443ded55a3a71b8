"""Predicted seconds of batches and of whole routes, fast enough for every decision.

One frame's remaining work is two numbers at each block: effective tokens and merging blocks, added up. A batch is
predicted from its means over the segment, which is exact where time grows linearly with tokens.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from statistics import median

from janus_vit.planning.plan import ModelShape
from janus_vit.planning.price import EnginePrice
from janus_vit.scheduling.costs import CostTable

_REMEMBERED = 32  # batches by which predictions are corrected
_LEAST_FACTOR, _LARGEST_FACTOR = 0.5, 4.0


@lru_cache(maxsize=4096)
def work_before(tokens: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Effective tokens and merging blocks of a frame before each of its blocks, added up from its first one.

    Args:
        tokens: before each block and after the last one.
    """
    pairs = list(zip(tokens[:-1], tokens[1:], strict=True))
    effective = accumulate(((before + 2 * after) / 3 for before, after in pairs), initial=0.0)
    merging = accumulate((int(before > after) for before, after in pairs), initial=0)
    return tuple(effective), tuple(merging)


class Estimator:
    """Predicts seconds from a cost table and corrects itself by what batches took.

    Args:
        table: measured on this machine.
        largest: frames in the largest batch.
    """

    def __init__(self, table: CostTable, largest: int) -> None:
        self._tokens = table.tokens
        self._rows = [_at_frames(table, count) for count in range(largest + 1)]
        self._stem_s = [_interpolate(table.frames, table.stem_s, count) for count in range(largest + 1)]
        self._head_s = [_interpolate(table.frames, table.head_s, count) for count in range(largest + 1)]
        self._merge_s = [_interpolate(table.frames, table.merge_s, count) for count in range(largest + 1)]
        self._ratios: deque[float] = deque(maxlen=_REMEMBERED)
        self.factor = 1.0

    def block_s(self, frames: int, tokens: float) -> float:
        """Seconds of one block that does not merge, for so many frames of so many effective tokens each."""
        axis, row = self._tokens, self._rows[frames]
        right = bisect_right(axis, tokens)
        if right == 0:
            return self.factor * row[0]
        if right == len(axis):  # beyond what was measured time grows with tokens
            return self.factor * row[-1] * tokens / axis[-1] if len(axis) > 1 else self.factor * row[0]
        low = axis[right - 1]
        return self.factor * (row[right - 1] + (row[right] - row[right - 1]) * (tokens - low) / (axis[right] - low))

    def stretch_s(self, present: float, blocks: int, work: float, merges: float) -> float:
        """Seconds of a stretch of blocks, without stem and head.

        Args:
            present: frames, added up over the blocks; some may join on the way.
            blocks: in the stretch, at least 1.
            work: effective tokens, added up over frames and blocks.
            merges: merges, added up over frames and blocks.
        """
        mean, tokens = present / blocks, work / present
        low = int(mean)
        seconds = self.block_s(low, tokens)
        if mean > low:
            seconds += (mean - low) * (self.block_s(low + 1, tokens) - seconds)
        return blocks * (seconds + self.merge_s(merges / blocks)) if merges else blocks * seconds

    def merge_s(self, frames: float) -> float:
        """Seconds that merging adds to one block in which so many frames merge, on average."""
        if frames <= 1:
            return self.factor * self._merge_s[1] * frames
        low = int(frames)
        return self.factor * (
            self._merge_s[low]
            + (self._merge_s[min(low + 1, len(self._merge_s) - 1)] - self._merge_s[low]) * (frames - low)
        )

    def stem_s(self, frames: int) -> float:
        """Seconds before the first block."""
        return self.factor * self._stem_s[frames]

    def head_s(self, frames: int) -> float:
        """Seconds after the last block."""
        return self.factor * self._head_s[frames]

    def price(self, frames: int) -> EnginePrice:
        """What each of so many frames in a batch costs."""
        first, last = self._tokens[0], self._tokens[-1]
        low, high = self.block_s(frames, first), self.block_s(frames, last)
        token_s = (high - low) / (last - first) / frames if last > first else 0.0
        frame_s = max(0.0, low / frames - token_s * first)
        return EnginePrice(self.stem_s(frames) / frames, self.head_s(frames) / frames, frame_s, token_s)

    def learn(self, predicted_s: float, elapsed_s: float) -> None:
        """Correct predictions by what a batch took: the median of the last ones counts."""
        if predicted_s <= 0 or elapsed_s <= 0:
            return
        self._ratios.append(self.factor * elapsed_s / predicted_s)
        self.factor = min(_LARGEST_FACTOR, max(_LEAST_FACTOR, median(self._ratios)))


def full_batch_s(table: CostTable, shape: ModelShape, frames: int) -> float:
    """Seconds of a whole run of so many unmerged frames."""
    estimator = Estimator(table, frames)
    blocks_s = shape.blocks * estimator.block_s(frames, shape.tokens)
    return estimator.stem_s(frames) + blocks_s + estimator.head_s(frames)


def _at_frames(table: CostTable, count: int) -> list[float]:
    """Seconds of one block by tokens, for so many frames."""
    columns = zip(*table.block_s, strict=True)
    return [_interpolate(table.frames, column, count) for column in columns]


def _interpolate(axis: Sequence[int], times: Sequence[float], count: int) -> float:
    """Seconds for so many frames: none for none; in proportion beyond what was measured."""
    right = bisect_right(axis, count)
    if right == len(axis):
        return times[-1] * count / axis[-1]
    if right == 0:
        return 0.0
    share = (count - axis[right - 1]) / (axis[right] - axis[right - 1])
    return times[right - 1] + share * (times[right] - times[right - 1])
