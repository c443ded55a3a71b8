"""The least seconds that a frame can cost a cloud's engine, whatever batches it runs in. Knows no scheduler.

A batch is predicted from the mean tokens of its frames (`scheduling.estimate`). Where time grows faster than tokens,
frames with many and with few tokens together take less time than apart, so no cost of a single frame is a safe bound. A
straight line below the curve is one: frames that cost what the line says cost no more than any batch of them. Every
edge of the curve's lower hull gives such a line; each is exact for frames with as many tokens as its edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from janus_vit.planning.latency import Floats, effective_tokens
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.table import PlanTable
from janus_vit.scheduling.costs import CostTable
from janus_vit.scheduling.estimate import BatchCosts

_GRID = 3  # effective tokens of a block are multiples of a third


@dataclass(frozen=True)
class CloudWork:
    """What each plan leaves to the cloud. Arrays are [levels, options]; all are 0 for local plans.

    Attributes:
        blocks: blocks that the cloud runs.
        tokens: effective tokens, added up over these blocks.
        merges: how many of these blocks merge.
        stems: 1 if the cloud runs the stem.
        heads: 1 if the cloud runs the head.
    """

    blocks: Floats
    tokens: Floats
    merges: Floats
    stems: Floats
    heads: Floats


def cloud_work(table: PlanTable) -> CloudWork:
    """Return what each plan leaves to the cloud."""
    counts = np.array([schedule.tokens for schedule in table.schedules], float)  # [levels, blocks + 1]
    before, after = (part + table.shape.late_within for part in (counts[:, :-1], counts[:, 1:]))
    splits = np.array([option.split for option in table.options])
    sent = np.broadcast_to(splits <= table.shape.blocks, table.size_bytes.shape).astype(float)
    left = np.broadcast_to(np.maximum(0, table.shape.blocks - splits), table.size_bytes.shape).astype(float)

    def rest(of_blocks: Floats) -> Floats:
        """Add up over the blocks from each split on."""
        sums = np.cumsum(of_blocks[:, ::-1], axis=1)[:, ::-1]
        return np.pad(sums, ((0, 0), (0, 2)))[:, splits]

    return CloudWork(
        blocks=left,
        tokens=rest(effective_tokens(before, after)),
        merges=rest((before > after).astype(float)),
        stems=sent * (splits == 0),
        heads=sent,
    )


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line below the time of one block of one frame in the most efficient batch.

    Attributes:
        block_s: seconds for each block; below 0 where time grows faster than tokens.
        token_s: seconds for each effective token.
        to_tokens: most tokens at which the line is exact.
    """

    block_s: float
    token_s: float
    to_tokens: float


class LeastCosts:
    """Least seconds of an engine, from its cost table.

    Args:
        table: seconds of batches.
        shape: shape of the model.
        most: frames in the largest batch that is allowed.

    Attributes:
        lines: see the module; in order of their tokens.
    """

    def __init__(self, table: CostTable, shape: ModelShape, most: int) -> None:
        self._costs = BatchCosts(table, shape.blocks, most)
        self._counts = range(1, most + 1)
        self._stem_s = min(self._costs.stem_s[count] / count for count in self._counts)
        self._head_s = min(self._costs.head_s[count] / count for count in self._counts)
        self._merge_s = min(self._merging_s(count) / count for count in self._counts)
        knots = np.unique([1.0, *table.tokens, float(shape.tokens)])
        efficient_s = [min(self._block_s(count, each) / count for count in self._counts) for each in knots]
        self.lines = _lines(*_lower_hull(knots, np.array(efficient_s)))
        grid = np.arange(_GRID, _GRID * shape.tokens + 1) / _GRID
        self._fastest = _lower_hull(grid, np.array([self._with_light_frames_s(each) for each in grid]))

    def engine_s(self, work: CloudWork, line: Line) -> Floats:
        """Return the least engine seconds of each plan, in the most efficient batches, [levels, options].

        Batches never take less than the sum over their frames. Stem, blocks, merging and head may each have another
        most efficient size. By a line for more tokens, light plans can cost less than nothing.
        """
        blocks_s = line.block_s * work.blocks + line.token_s * work.tokens
        ends_s = self._stem_s * work.stems + self._head_s * work.heads
        return np.asarray(blocks_s + ends_s + self._merge_s * work.merges)

    def latency_s(self, work: CloudWork) -> Floats:
        """Return the least time from start to end of each plan's work in an idle cloud, [levels, options]."""
        mean_tokens = work.tokens / np.maximum(1.0, work.blocks)
        blocks_s = work.blocks * np.interp(mean_tokens, *self._fastest)
        ends_s = self._costs.stem_s[1] * work.stems + self._costs.head_s[1] * work.heads
        return np.asarray(blocks_s + ends_s + self._merging_s(1) * work.merges)

    def line_at(self, tokens: float) -> int:
        """Return the index of the line that is exact for so many tokens."""
        return next((index for index, line in enumerate(self.lines) if tokens <= line.to_tokens), len(self.lines) - 1)

    def _block_s(self, frames: int, tokens: float) -> float:
        return self._costs.stretch_s(frames, 1, frames * tokens, merges=0.0)

    def _merging_s(self, frames: int) -> float:
        with_s = self._costs.stretch_s(frames, 1, float(frames), merges=float(frames))
        return with_s - self._costs.stretch_s(frames, 1, float(frames), merges=0.0)

    def _with_light_frames_s(self, tokens: float) -> float:
        """Least time of a block in any batch: by the prediction from mean tokens, company can make a frame faster."""
        return min(self._block_s(count, (tokens + count - 1) / count) for count in self._counts)


def _lower_hull(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the corners of the lower convex hull of points, whose `x` rise."""
    corners: list[int] = []
    for new in range(len(x)):
        while len(corners) > 1 and _is_above(x, y, corners[-2], corners[-1], new):
            corners.pop()
        corners.append(new)
    return x[corners], y[corners]


def _is_above(x: Floats, y: Floats, left: int, middle: int, right: int) -> bool:
    """Whether the middle point is on or above the line between the others."""
    return bool((y[middle] - y[left]) * (x[right] - x[left]) >= (y[right] - y[left]) * (x[middle] - x[left]))


def _lines(tokens: Floats, seconds: Floats) -> tuple[Line, ...]:
    slopes = np.diff(seconds) / np.diff(tokens)
    levels_s = seconds[:-1] - slopes * tokens[:-1]
    rows = zip(levels_s.tolist(), slopes.tolist(), tokens[1:].tolist(), strict=True)
    return tuple(Line(level_s, slope, end) for level_s, slope, end in rows)
