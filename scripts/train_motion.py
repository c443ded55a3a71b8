"""Train the small video model that ships with the package.

    PYTHONPATH=src python scripts/train_motion.py --seed 0 --minutes 15

Draws clips of moving digits without end (`janus_vit.sources.motion`) from the training glyphs, trains without merging,
and writes the checkpoint, the provenance and the log. Clips of held-out glyphs test the model. The network has the form
of VideoMAE: tubelets, no class token, and a norm after the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from train_and_save import run
from training_task import Recipe, Samples, Task, replayed

from janus_vit.model.vit import Architecture
from janus_vit.sources.motion import GLYPHS_FILE, MOTION_LABELS, STYLE, motion_clips

ARCHITECTURE = Architecture(
    image_size=STYLE.size,
    patch_size=8,
    width=96,
    depth=12,
    heads=6,
    mlp_width=384,
    classes=len(MOTION_LABELS),
    pooling="mean",
    prefix=0,
    frames=STYLE.frames,
    tubelet=2,
    pooled_norm=True,
)
RECIPE = Recipe(minutes=15.0, batch=32, smoothing=0.05, decay=0.05, memory=800, mean=0.31, std=0.16)


def normalise(clips: NDArray[np.uint8], recipe: Recipe) -> Tensor:
    """Convert clips [B, T, S, S, 3] to model inputs [B, 3, T, S, S]."""
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float()
    return (pixels / 255 - recipe.mean) / recipe.std


def batches(recipe: Recipe) -> Iterator[Samples]:
    """Yield training batches without end."""

    def draw(rng: np.random.Generator) -> Samples:
        return Samples(*motion_clips(recipe.batch, int(rng.integers(1 << 62)), training=True))

    return replayed(draw, recipe)


TASK = Task(
    name="janus-motion",
    samples_name="clips",
    architecture=ARCHITECTURE,
    labels=MOTION_LABELS,
    normalise=normalise,
    batches=batches,
    fresh=lambda recipe, count: Samples(*motion_clips(count, recipe.seed, training=True)),
    held_out=lambda recipe: Samples(*motion_clips(recipe.frames, recipe.seed)),
    style=STYLE,
    provenance=lambda recipe: {"motion": asdict(STYLE), "glyphs": GLYPHS_FILE},
)


if __name__ == "__main__":
    run(TASK, RECIPE, (__doc__ or "").splitlines()[0], threads=1)
