"""Predicted seconds of batches and of what is left of a job, fast enough for every decision.

A job's work is two numbers for each block: effective tokens, and whether it merges. A batch is predicted from its means
over the blocks, which is exact where time grows linearly with tokens.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from statistics import median

from janus_vit.planning.plan import ModelShape, steps
from janus_vit.planning.price import EnginePrice
from janus_vit.scheduling.costs import CostTable

_NEARLY_BEST = 1.01  # time a frame of the largest batch, by that of the most efficient one
_REMEMBERED = 32  # batches by which predictions are corrected
_LEAST_FACTOR, _LARGEST_FACTOR = 0.5, 4.0
_KEPT_ROUTES = 4_096
_RATE_MEMORY_S = 0.2


class Route:
    """What is left of a job before each of its blocks, and after the last one.

    Attributes:
        work: effective tokens of all blocks before this one, added up.
        merges: merging blocks before this one.
        alone_s: seconds of the rest in a batch of one.
        extra_s: seconds that the rest takes longer in the largest batch.
        share_s: seconds of the engine that the rest costs in the largest batch.
    """

    __slots__ = ("alone_s", "extra_s", "merges", "share_s", "work")

    def __init__(self, tokens: tuple[int, ...], costs: BatchCosts) -> None:
        pairs = steps(tokens)
        self.work = list(accumulate(((before + 2 * after) / 3 for before, after in pairs), initial=0.0))
        self.merges = list(accumulate((int(before > after) for before, after in pairs), initial=0))
        largest = costs.max_frames
        self.alone_s = [self._rest_s(offset, 1, costs) for offset in range(len(tokens))]
        full_s = [self._rest_s(offset, largest, costs) for offset in range(len(tokens))]
        self.extra_s = [max(0.0, full - alone) for full, alone in zip(full_s, self.alone_s, strict=True)]
        self.share_s = [full / largest for full in full_s]

    def _rest_s(self, offset: int, frames: int, costs: BatchCosts) -> float:
        last, depth = len(self.work) - 1, costs.blocks
        work, merges = self.work[last] - self.work[offset], self.merges[last] - self.merges[offset]
        return costs.segment_s(frames, depth - last + offset, depth, frames * work, frames * merges)


class BatchCosts:
    """Predicts seconds from a cost table.

    Args:
        table: measured on this machine.
        blocks: depth of the model.
        most: frames in the largest batch that is allowed.

    Attributes:
        max_frames: frames in the largest batch that pays: a larger one takes no less time for each of its frames.
        stem_s: seconds before the first block, by frames.
        head_s: seconds after the last block, by frames.
    """

    def __init__(self, table: CostTable, blocks: int, most: int) -> None:
        counts = range(most + 1)
        self.blocks = blocks
        self._tokens = table.tokens
        self._rows = [
            [_interpolate(table.frames, column, count) for column in zip(*table.block_s, strict=True)]
            for count in counts
        ]
        self._merge_s = [_interpolate(table.frames, table.merge_s, count) for count in counts]
        self.stem_s = [_interpolate(table.frames, table.stem_s, count) for count in counts]
        self.head_s = [_interpolate(table.frames, table.head_s, count) for count in counts]
        self.max_frames = max(_most_that_pay([row[index] for row in self._rows]) for index in range(len(table.tokens)))
        self._routes: dict[tuple[int, ...], Route] = {}

    def route(self, tokens: tuple[int, ...]) -> Route:
        """The route of a job with so many tokens before each block and after the last one."""
        route = self._routes.get(tokens)
        if route is None:
            if len(self._routes) >= _KEPT_ROUTES:
                self._routes.clear()
            route = self._routes[tokens] = Route(tokens, self)
        return route

    def fullness(self, frames: float) -> float:
        """How full a batch of so many frames is: 0 with one, 1 with the most or more."""
        return max(0.0, min(frames, self.max_frames) - 1) / max(1, self.max_frames - 1)

    def segment_s(self, frames: int, start: int, stop: int, work: float, merges: float) -> float:
        """Seconds of so many frames from one block up to another, with the stem before 0 and the head at the depth.

        Args:
            frames: in the batch.
            start: first block.
            stop: block to stop before.
            work: effective tokens, added up over frames and blocks.
            merges: merges, added up over frames and blocks.
        """
        seconds = self.stretch_s(frames, stop - start, work, merges) if stop > start else 0.0
        if start == 0:
            seconds += self.stem_s[frames]
        return seconds + self.head_s[frames] if stop == self.blocks else seconds

    def stretch_s(self, frames: int, blocks: int, work: float, merges: float) -> float:
        """Seconds of so many frames in so many blocks, at least 1, without stem and head.

        Args:
            frames: in the batch.
            blocks: that it runs.
            work: effective tokens, added up over frames and blocks.
            merges: merges, added up over frames and blocks.
        """
        seconds = self._block_s(self._rows[frames], work / (frames * blocks))
        return blocks * (seconds + self._merging_s(merges / blocks)) if merges else blocks * seconds

    def price(self, frames: int, answers_per_s: float = 0.0) -> EnginePrice:
        """What each of so many frames in a batch costs, if an engine second is worth so many right answers."""
        first, last, row = self._tokens[0], self._tokens[-1], self._rows[frames]
        token_s = (row[-1] - row[0]) / (last - first) / frames if last > first else 0.0
        frame_s = max(0.0, row[0] / frames - token_s * first)
        return EnginePrice(self.stem_s[frames] / frames, self.head_s[frames] / frames, frame_s, token_s, answers_per_s)

    def _block_s(self, row: Sequence[float], tokens: float) -> float:
        """Seconds of one block that does not merge; beyond what was measured in proportion to its tokens."""
        axis = self._tokens
        right = bisect_right(axis, tokens)
        if right == 0 or len(axis) == 1:
            return row[0]
        if right == len(axis):
            return row[-1] * tokens / axis[-1]
        low = axis[right - 1]
        return row[right - 1] + (row[right] - row[right - 1]) * (tokens - low) / (axis[right] - low)

    def _merging_s(self, frames: float) -> float:
        """Seconds that merging adds to one block in which so many frames merge on average."""
        low = max(1, int(frames))
        seconds = self._merge_s[low]
        if frames <= 1:
            return seconds * frames
        return seconds + (self._merge_s[min(low + 1, len(self._merge_s) - 1)] - seconds) * (frames - low)


class Correction:
    """How much longer batches take than predicted: the median of the last ones, within limits.

    Attributes:
        factor: measured by predicted seconds.
    """

    def __init__(self) -> None:
        self.factor = 1.0
        self._ratios: deque[float] = deque(maxlen=_REMEMBERED)

    def learn(self, predicted_s: float, elapsed_s: float) -> None:
        """Take in what a batch was predicted to take without correction, and took."""
        if predicted_s > 0 and elapsed_s > 0:
            self._ratios.append(elapsed_s / predicted_s)
            self.factor = min(_LARGEST_FACTOR, max(_LEAST_FACTOR, median(self._ratios)))


class ArrivalRate:
    """How many jobs arrive a second; older arrivals count less and less."""

    def __init__(self) -> None:
        self._hz = 0.0
        self._counted_s = 0.0

    def count(self, now_s: float) -> None:
        """A job arrives."""
        self._hz = self.hz(now_s) + 1 / _RATE_MEMORY_S
        self._counted_s = now_s

    def hz(self, now_s: float) -> float:
        """The present rate."""
        return self._hz * math.exp(min(0.0, self._counted_s - now_s) / _RATE_MEMORY_S)


def full_batch_s(table: CostTable, shape: ModelShape, frames: int) -> float:
    """Seconds of a whole run of so many unmerged frames."""
    costs = BatchCosts(table, shape.blocks, frames)
    work = shape.blocks * shape.tokens + sum(shape.late_within)
    return costs.segment_s(frames, 0, shape.blocks, frames * work, merges=0.0)


def _interpolate(axis: Sequence[int], times: Sequence[float], count: int) -> float:
    """Seconds for so many frames: none for none; in proportion beyond what was measured."""
    right = bisect_right(axis, count)
    if right == len(axis):
        return times[-1] * count / axis[-1]
    if right == 0:
        return 0.0
    share = (count - axis[right - 1]) / (axis[right] - axis[right - 1])
    return times[right - 1] + share * (times[right] - times[right - 1])


def _most_that_pay(times: Sequence[float]) -> int:
    """The smallest batch that takes nearly the least time for each of its frames; `times` are by frames, from 0 on."""
    each = [seconds / frames for frames, seconds in enumerate(times) if frames]
    return 1 + next(index for index, seconds in enumerate(each) if seconds <= _NEARLY_BEST * min(each))
