"""Merging schedules for the engine benchmarks, and the share of a model's operations that each keeps."""

from __future__ import annotations

from janus_vit.planning.plan import ModelShape
from janus_vit.planning.schedules import levels, make_schedule

Merges = tuple[int, ...]  # tokens merged in each block
PATCH = 16
KEPT = (0.6, 0.4)  # approximate shares of the operations kept, with levels of the paper's schedule
FIFTH = 0.2  # less than the paper's schedule can keep: large merges in the first blocks, as in learned schedules


def operations(shape: ModelShape, merges: Merges) -> float:
    """Count the multiplications and additions of stem and blocks.

    A block merges between attention and MLP. From its attention on, the last block computes only what the head reads.
    """
    tokens, width, total = shape.tokens, shape.width, 2.0 * shape.tokens * shape.width * 3 * PATCH**2
    for block, merged in enumerate(merges, start=1):
        queries = shape.tokens_at(block, tokens)
        total += 6 * tokens * width**2 + 4 * tokens * queries * width + 2 * queries * width**2
        tokens = shape.tokens_at(block, tokens - merged)
        total += 16 * tokens * width**2
    return total


def runs(shape: ModelShape) -> dict[Merges, float]:
    """Return the schedules to measure, unmerged first, with the share of the operations that each keeps."""
    whole = operations(shape, (0,) * shape.blocks)
    options = levels_of(shape)
    early = [early_merges(shape, last) for last in range(shape.tokens // 8, shape.tokens // 2)]
    kept = {merges: operations(shape, merges) / whole for merges in options + early}

    def nearest(among: list[Merges], wanted: float) -> Merges:
        return min(among, key=lambda merges: abs(kept[merges] - wanted))

    chosen = [options[0], *(nearest(options, wanted) for wanted in KEPT), nearest(early, FIFTH)]
    return {merges: kept[merges] for merges in chosen}


def levels_of(shape: ModelShape) -> list[Merges]:
    """Return the merges of each level that the planner chooses from."""
    return [make_schedule("exponential", level, shape).applied for level in levels("exponential", shape)]


def early_merges(shape: ModelShape, last: int) -> Merges:
    """Merge as many tokens as possible in the first blocks, until `last` tokens are left."""
    merges, tokens = [], shape.tokens
    for _ in range(shape.blocks):
        merges.append(min((tokens - shape.protected) // 2, tokens - last))
        tokens -= merges[-1]
    return tuple(merges)
