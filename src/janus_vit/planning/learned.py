"""Learned schedules: dynamic programming finds the merges of each block from measured losses and a latency profile.

The other rules fix how the merges fall off over the blocks. Here each block merges as much as is worth it. The time of
a block is known from a profile, including the cost of merging. The loss from merging in one block alone was measured.
Losses of several blocks are assumed to add up; calibration then checks that on whole schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from janus_vit.planning.latency import Floats, last_effective_tokens
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.schedules import Schedule, clip

LEARNED = "learned"
BlockSeconds = Callable[[ArrayLike, ArrayLike], Floats]  # tokens before and after the merge -> seconds of the block
_PRICES = 60


@dataclass(frozen=True, eq=False)
class Losses:
    """Loss from merging in one block alone.

    Attributes:
        shares: shares of the mergeable tokens that are merged away, ascending from 0 to 0.5, [S].
        by_block: loss, 0 at share 0, [blocks, S]. Any measure of loss will do, such as KL divergence.
    """

    shares: Floats
    by_block: Floats


def learn(shape: ModelShape, losses: Losses, block_s: BlockSeconds, count: int) -> tuple[Schedule, ...]:
    """Find schedules from no merging to the strongest merging, each with the least loss for its time.

    Args:
        shape: shape of the model.
        losses: loss from merging in each block.
        block_s: predicts the seconds of a block from the tokens before and after its merge.
        count: largest number of schedules.

    Returns:
        At most `count` schedules. The level of each is the share of the blocks' time that it saves.
    """
    counts = np.arange(shape.protected + 1, shape.tokens + 1)
    most = (shape.tokens - shape.protected) // 2
    before, merged = np.meshgrid(counts, np.arange(most + 1), indexing="ij")  # [tokens, merges]
    possible = merged <= (before - shape.protected) // 2
    by_late = {
        late: np.where(possible, block_s(before + late, before + late - merged), np.inf)
        for late in {shape.joined(block) for block in range(shape.blocks)}
    }
    by_block_s = [by_late[shape.joined(block)] for block in range(shape.blocks)]
    if shape.head_tokens is not None:  # nothing merges in the last block
        few = last_effective_tokens(before, shape.head_tokens)
        by_block_s[-1] = np.where(merged == 0, block_s(few, few), np.inf)
    shares = merged / np.maximum(before - shape.protected, 1)
    prices = np.stack([np.interp(shares, losses.shares, monotone) for monotone in _rising(losses.by_block)])
    unmerged_s = sum(float(block[-1, 0]) for block in by_block_s)
    found: dict[tuple[int, ...], float] = {}
    for price in np.geomspace(1e-4, 1e4, _PRICES) * unmerged_s / max(float(losses.by_block.max()), 1e-12):
        merges = _cheapest(by_block_s, price, prices)
        found[merges] = 1 - _total(merges, by_block_s) / unmerged_s
    found[(0,) * shape.blocks] = 0.0
    return tuple(clip(LEARNED, round(max(level, 0.0), 4), merges, shape) for merges, level in _spread(found, count))


def _cheapest(by_block_s: Sequence[Floats], price: float, losses: Floats) -> tuple[int, ...]:
    """Find the merges that minimise time + price * loss, by dynamic programming from the last block to the first.

    Args:
        by_block_s: seconds of each block, [tokens, merges], infinite where impossible.
        price: seconds that one unit of loss is worth.
        losses: loss in each block, [blocks, tokens, merges].
    """
    rows, columns = by_block_s[0].shape
    after = np.maximum(np.arange(rows)[:, None] - np.arange(columns)[None], 0)  # row of the remaining tokens
    rest = np.zeros(rows)
    choices = []
    for seconds, loss in zip(reversed(by_block_s), losses[::-1], strict=True):
        cost = seconds + price * loss + rest[after]
        choices.append(cost.argmin(axis=1))
        rest = cost.min(axis=1)
    merges, row = [], rows - 1
    for choice in reversed(choices):
        merges.append(int(choice[row]))
        row -= merges[-1]
    return tuple(merges)


def _total(merges: tuple[int, ...], by_block_s: Sequence[Floats]) -> float:
    row, total_s = len(by_block_s[0]) - 1, 0.0
    for merged, seconds in zip(merges, by_block_s, strict=True):
        total_s += float(seconds[row, merged])
        row -= merged
    return total_s


def _rising(losses: Floats) -> Floats:
    """Remove dips caused by noise: merging more never costs less."""
    return np.asarray(np.maximum.accumulate(np.maximum(losses, 0.0), axis=1))


def _spread(found: dict[tuple[int, ...], float], count: int) -> Sequence[tuple[tuple[int, ...], float]]:
    """Keep at most `count` schedules with about evenly spaced levels, including the first and the last."""
    rising = sorted(((merges, level) for merges, level in found.items() if level >= 0), key=lambda item: item[1])
    levels = np.array([level for _, level in rising])
    wanted = np.linspace(0.0, levels[-1], count)
    kept = sorted({int(np.abs(levels - level).argmin()) for level in wanted})
    return [rising[index] for index in kept]
