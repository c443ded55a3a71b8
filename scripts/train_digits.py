"""Train the small image model that ships with the package.

    PYTHONPATH=src python scripts/train_digits.py --seed 0 --minutes 9

Reads scikit-learn's handwritten digits, splits them once by the seed, composes cluttered scenes without end from the
training digits (`janus_vit.sources.scenes`), trains without merging, and writes the checkpoint, the provenance and the
log. Then run `draw_digits_frames.py`, which draws the frames that ship with the model.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from digits_data import batches, draw, split_digits
from numpy.typing import NDArray
from torch import Tensor
from train_and_save import run
from training_task import Recipe, Samples, Task

from janus_vit.model.vit import Architecture
from janus_vit.sources.scenes import STYLE, SceneStyle

NAME = "janus-digits"
ARCHITECTURE = Architecture(
    image_size=STYLE.size,
    patch_size=8,
    width=96,
    depth=12,
    heads=12,
    mlp_width=384,
    classes=10,
    pooling="mean",
    prefix=0,
    stem="conv",
)


def normalise(grey: NDArray[np.uint8], recipe: Recipe) -> Tensor:
    """Convert grey scenes [B, S, S] to model inputs [B, 3, S, S]."""
    pixels = (torch.from_numpy(grey).float() / 255 - recipe.mean) / recipe.std
    return pixels[:, None].expand(-1, 3, -1, -1)


def draw_fresh(recipe: Recipe, count: int) -> Samples:
    """Draw scenes of training digits."""
    digits, rng = split_digits(recipe)[0], np.random.default_rng((recipe.seed, 5))
    return draw(digits, rng.integers(0, len(digits.labels), count), rng)


def draw_frames(recipe: Recipe, style: SceneStyle = STYLE) -> Samples:
    """Draw scenes of held-out digits, with every digit about equally often."""
    test, rng = split_digits(recipe)[1], np.random.default_rng((recipe.seed, 3))
    return draw(test, np.resize(rng.permutation(len(test.labels)), recipe.frames), rng, style)


def provenance(recipe: Recipe) -> dict[str, object]:
    """Return the style of the scenes and the split of the digits."""
    train, test = split_digits(recipe)
    return {
        "scenes": asdict(STYLE),
        "train_digits": train.indices.tolist(),
        "test_digits": test.indices.tolist(),
    }


TASK = Task(
    name=NAME,
    samples_name="frames",
    architecture=ARCHITECTURE,
    labels=tuple(str(digit) for digit in range(ARCHITECTURE.classes)),
    normalise=normalise,
    batches=batches,
    fresh=draw_fresh,
    held_out=draw_frames,
    style=STYLE,
    provenance=provenance,
    packages=("torch", "numpy", "scikit-learn"),
)


if __name__ == "__main__":
    run(TASK, Recipe(), (__doc__ or "").splitlines()[0], threads=2)
