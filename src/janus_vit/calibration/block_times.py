"""Time single blocks on an engine: block by block on a CPU, within a long run on a GPU.

A GPU is given all blocks of a run at once, and often as one captured graph. A block that is run alone waits for its own
launches, which take longer than the block, and most of all where it merges.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.stage import Activation, made_up

Clock = Callable[[], float]  # seconds
_PAUSE_S = 0.01
_VISIT_S = 0.05  # blocks are timed together for this long, or until all blocks are timed
_WARM_UP = 3  # runs before a run on a GPU is timed: engines capture what repeats


def block_seconds(model: Model, engine: Engine, tokens: Tensor, merged: int, first: int, clock: Clock) -> float:
    """Return the time of one block that merges `merged` of its tokens.

    The last block is left out if it computes only the tokens that the head reads.

    Args:
        model: what the engine runs.
        engine: what is timed.
        tokens: [1, T, C], the same for each block.
        merged: tokens that merge.
        first: the block to begin with on a CPU.
        clock: seconds.
    """
    count = model.shape.blocks if model.shape.head_tokens is None else max(1, model.shape.blocks - 1)
    # After a merge, tokens stand for several patches, and attention counts their sizes.
    sizes = torch.full(tokens.shape[:2], 2.0 if merged else 1.0)
    arch = model.network.architecture
    start = made_up(arch, tokens, sizes, 0, (merged,) + (0,) * (count - 1), model.fingerprint)
    if engine.device.type == "cpu":
        return _one_by_one(engine, start, count, first, clock)
    whole_s = _run_seconds(engine, start, count, clock)
    if not merged:
        return whole_s / count
    # Behind the first block that much fewer tokens: what a run of such blocks takes is not the merging block's.
    left = made_up(arch, tokens[:, merged:], sizes[:, merged:], 1, (0,) * (count - 1), model.fingerprint)
    others_s = _run_seconds(engine, left, count, clock) if count > 1 else 0.0
    return max(whole_s - others_s, whole_s / count)


def _one_by_one(engine: Engine, start: Activation, count: int, first: int, clock: Clock) -> float:
    """Mean time of a block over one visit, on the same tokens each."""
    merges, elapsed_s, visited = start.merges[:1], 0.0, 0
    blocks = [(first + step) % count for step in range(count)]
    starts = [replace(start, next_block=block, merges=merges) for block in blocks]
    time.sleep(_PAUSE_S)
    began_s = clock()
    while visited < len(starts) and elapsed_s < _VISIT_S:
        engine.run(starts[visited], starts[visited].next_block + 1)
        visited, elapsed_s = visited + 1, clock() - began_s
    return elapsed_s / visited


def _run_seconds(engine: Engine, start: Activation, stop: int, clock: Clock) -> float:
    """Time of a run on tokens that are on the engine's device already."""
    there = replace(start, tokens=engine.upload(start.tokens), sizes=engine.upload(start.sizes))
    for _ in range(_WARM_UP):
        engine.run(there, stop)
    began_s = clock()
    engine.run(there, stop)
    return clock() - began_s
