"""Measure how long batches take on an engine, for the scheduler's cost table. Takes a few seconds at the start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.machine import hardware
from janus_vit.model.stage import Activation, made_up
from janus_vit.scheduling.costs import CostTable

_BLOCKS = 2  # blocks that are timed together
_ROUNDS = 3  # runs of each measurement, including one for warm-up
_TOKEN_SHARES = (0.25, 0.5, 1.0)
_BUDGET_S = 5.0  # no larger batch is measured after this time


def measure_costs(
    model: Model,
    engine: Engine,
    max_frames: int,
    progress: Callable[[float], None] = lambda share: None,
    budget_s: float = _BUDGET_S,
) -> CostTable:
    """Time the stem, blocks, merging and the head for batches of 1, 2, 4 ... frames.

    Args:
        model: the model that the engine runs.
        engine: the engine to measure.
        max_frames: number of frames in the largest batch.
        progress: called with the share of the work that is done.
        budget_s: time after which no larger batch is measured; the table extrapolates to larger ones.
    """
    sizes = _powers_of_two(max_frames)
    shape = model.shape
    protected, most = (count + shape.late_tokens for count in (shape.protected, shape.tokens))
    tokens = sorted({max(protected + 2, round(share * most)) for share in _TOKEN_SHARES})
    rows: list[_Row] = []
    began_s = time.perf_counter()
    with torch.inference_mode():
        for size in sizes:
            if rows and time.perf_counter() - began_s > budget_s:
                break
            rows.append(_measure_row(model, engine, size, tokens))
            progress(len(rows) / len(sizes))
    return CostTable(
        model=model.name,
        frames=tuple(sizes[: len(rows)]),
        tokens=tuple(float(count) for count in tokens),
        block_s=tuple(row.block_s for row in rows),
        stem_s=tuple(row.stem_s for row in rows),
        head_s=tuple(row.head_s for row in rows),
        merge_s=tuple(row.merge_s for row in rows),
        about={
            "engine": engine.name,
            "precision": engine.precision,
            "hardware": hardware(),
            "torch": torch.__version__,
        },
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """Seconds that the parts of the model take at one batch size."""

    block_s: tuple[float, ...]
    stem_s: float
    head_s: float
    merge_s: float


def _measure_row(model: Model, engine: Engine, size: int, tokens: list[int]) -> _Row:
    shape, unmerged = model.shape, (0,) * model.shape.blocks
    pixels = torch.zeros(size, *shape.input_shape, device=engine.device)
    starts = {count: _activations(model, size, count, merges=0) for count in tokens}
    block_s = tuple(_block_seconds(model, engine, starts[count]) for count in tokens)
    mergeable = tokens[-1] - shape.protected - shape.late_tokens
    merging = _activations(model, size, tokens[-1], merges=max(1, mergeable // 8))
    merged_s = _block_seconds(model, engine, merging)
    final = engine.run_batch(_at_last_block(model, starts[tokens[-1]]), shape.blocks)
    return _Row(
        block_s=block_s,
        stem_s=_least_seconds(lambda: engine.embed_batch(pixels, [unmerged] * size)),
        head_s=_least_seconds(lambda: engine.head_batch(final)),
        merge_s=max(0.0, merged_s - block_s[-1]),
    )


def _activations(model: Model, size: int, tokens: int, merges: int) -> list[Activation]:
    """Make frames at block 0. If they merge, each token already stands for two patches, as later in a run."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(size, tokens, model.shape.width, generator=generator)
    sizes = torch.full((1, tokens), 2.0 if merges else 1.0)
    plan = (merges,) * model.shape.blocks
    arch = model.network.architecture
    return [made_up(arch, frame[None], sizes, 0, plan, model.fingerprint) for frame in values]


def _at_last_block(model: Model, starts: list[Activation]) -> list[Activation]:
    last = model.shape.blocks - 1
    return [replace(start, next_block=last, merges=(0,)) for start in starts]


def _block_seconds(model: Model, engine: Engine, starts: list[Activation]) -> float:
    """Mean time of a few blocks, without the last block, which may compute only what the head reads."""
    stop = max(1, min(_BLOCKS, model.shape.blocks - 1))
    return _least_seconds(lambda: engine.run_batch(starts, stop)) / stop


def _least_seconds(run: Callable[[], object]) -> float:
    """Minimum time of several runs after one warm-up run."""
    times_s = []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        run()
        times_s.append(time.perf_counter() - began_s)
    return min(times_s[1:])


def _powers_of_two(most: int) -> list[int]:
    return [1 << power for power in range(most.bit_length()) if 1 << power <= most]
