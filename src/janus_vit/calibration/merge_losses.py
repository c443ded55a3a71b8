"""Measures how much a model's answers change if only one block merges, and learns schedules from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from janus_vit.calibration.agreement import comparable, divergences
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.preprocessing import Frame
from janus_vit.model.stage import Activation
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.learned import Losses, learn
from janus_vit.planning.schedules import Schedule

SHARES = (0.0, 0.125, 0.25, 0.375, 0.5)
_LARGEST_BATCH, _TOKENS = 50, 2048  # limits of a batch in frames and in tokens
_FRAMES = 200  # enough, because losses are means
_LEVELS = 12
Progress = Callable[[float], None]  # share done 0..1


def learned_schedules(
    model: Model,
    engine: Engine,
    images: Sequence[Frame],
    profile: PlatformProfile,
    progress: Callable[[str], None] = lambda done: None,
) -> tuple[Schedule, ...]:
    """Learn the schedules that lose least for the time that they save on the profile's machine.

    Args:
        model: the model to merge in.
        engine: runs the model.
        images: cropped frames; only the first ones are used.
        profile: block times of the machine.
        progress: called with a sentence about the present step.
    """
    losses = measure_losses(
        model, engine, images[:_FRAMES], lambda share: progress(f"{share:.0%} of the losses by block measured")
    )
    return learn(model.shape, losses, lambda before, after: profile.block_seconds(before, after, "quadratic"), _LEVELS)


def measure_losses(
    model: Model, engine: Engine, images: Sequence[Frame], progress: Progress = lambda share: None
) -> Losses:
    """Measure the mean loss of merging a share of the tokens in one block only, for each block and share.

    Args:
        model: the model to merge in.
        engine: runs the model.
        images: cropped frames. They need no labels: the unmerged model's output is the reference.
        progress: called with the share that is done.
    """
    shape = model.shape
    total = np.zeros((shape.blocks, len(SHARES)))
    unmerged = (0,) * shape.blocks
    batch = max(1, min(_TOKENS // shape.tokens, _LARGEST_BATCH))
    batches = range(0, len(images), batch)
    for number, first in enumerate(batches):
        chosen = images[first : first + batch]
        at_block = engine.embed(torch.cat([model.preprocessing.normalise(image) for image in chosen]), unmerged)
        reference = engine.head(engine.run(at_block, shape.blocks))
        for block in range(shape.blocks):
            for column, share in enumerate(SHARES[1:], start=1):
                merged = int(share * (shape.tokens - shape.protected))
                output = _run_merging(engine, at_block, merged, shape.blocks)
                total[block, column] += len(chosen) * divergence(reference, output, model.task)
            at_block = engine.run(at_block, block + 1)
            progress((number + (block + 1) / shape.blocks) / len(batches))
    return Losses(np.array(SHARES), total / len(images))


def divergence(reference: Tensor, output: Tensor, task: str) -> float:
    """Return the mean divergence of outputs [B, D] from those of the unmerged model; see `agreement.divergences`."""
    return float(divergences(comparable(reference, task), comparable(output, task), task).mean())


def _run_merging(engine: Engine, start: Activation, merged: int, blocks: int) -> Tensor:
    """Return the model's output if only the next block merges."""
    merges = (merged, *(0,) * (blocks - start.next_block - 1))
    return engine.head(engine.run(replace(start, merges=merges), blocks))
