"""A task for training a small model: its recipe, its samples and how they become model inputs. Trains nothing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from janus_vit.model.vit import Architecture
from janus_vit.planning.plan import ModelShape

DATA = Path("src/janus_vit/data")
ATTRIBUTION = (
    "Digits: scikit-learn's load_digits, a copy of the test set of the UCI ML data set 'Optical Recognition of "
    "Handwritten Digits' by E. Alpaydin and C. Kaynak, 1998, CC BY 4.0, https://doi.org/10.24432/C50P49. "
    "Changed: the digits were scaled, tilted, cut and composed into cluttered scenes."
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number on which the training depends.

    Attributes:
        seed: seed of the split, the samples and the weights.
        minutes: length of the training; the learning rate follows the clock.
        young_depth: number of blocks that are trained; the others are put before them at the end.
        batch: samples per step.
        rate: largest learning rate, reached after `warmup` steps and followed by a cosine down to 1 % of it.
        warmup: steps until the largest learning rate.
        decay: weight decay of matrices.
        smoothing: label smoothing.
        average: decay of the running mean of the weights, which is what is stored.
        memory: number of batches that are kept; every second step sees one of them again.
        mean: mean of the pixels, 0 to 1; a model's input is (pixels / 255 - mean) / std.
        std: standard deviation of the pixels, 0 to 1.
        test_digits: number of digits held out from training.
        frames: number of held-out samples drawn from them.
    """

    seed: int = 0
    minutes: float = 9.0
    young_depth: int = 3
    batch: int = 64
    rate: float = 1.5e-3
    warmup: int = 150
    decay: float = 0.1
    smoothing: float = 0.1
    average: float = 0.995
    memory: int = 400
    mean: float = 0.37
    std: float = 0.2
    test_digits: int = 360
    frames: int = 1000

    def rate_at(self, step: int, done: float) -> float:
        """Return the learning rate of a step, after a share `done` of the whole time."""
        warm = min(1.0, (step + 1) / self.warmup)
        return self.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


class Samples(NamedTuple):
    """Pictures or clips with their classes.

    Attributes:
        pixels: uint8; the first axis counts the samples.
        labels: index of each sample's class, [n].
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What a script trains.

    Attributes:
        name: name of the model and of its files.
        samples_name: what a sample is called in the log and the metadata, in the plural.
        architecture: architecture of the grown model.
        labels: names of the classes.
        normalise: converts pixels of samples to model inputs [B, 3, ...].
        batches: yields training batches without end.
        fresh: draws the given number of training samples for the accuracies in the log.
        held_out: draws the samples on which the finished model is tested.
        style: how the samples look, for the log.
        provenance: returns entries of the provenance beside those of every task.
        packages: packages whose versions the provenance names.
    """

    name: str
    samples_name: str
    architecture: Architecture
    labels: tuple[str, ...]
    normalise: Callable[[NDArray[np.uint8], Recipe], Tensor]
    batches: Callable[[Recipe], Iterator[Samples]]
    fresh: Callable[[Recipe, int], Samples]
    held_out: Callable[[Recipe], Samples]
    style: object
    provenance: Callable[[Recipe], dict[str, object]]
    packages: tuple[str, ...] = ("torch", "numpy")

    @property
    def shape(self) -> ModelShape:
        """Shape of the grown model, for merging schedules."""
        made = self.architecture
        return ModelShape(self.name, made.depth, made.tokens, made.prefix, made.width, made.input_shape)


def replayed(draw: Callable[[np.random.Generator], Samples], recipe: Recipe) -> Iterator[Samples]:
    """Yield batches without end: in turn a new one and a random one of the last `recipe.memory` batches.

    Args:
        draw: draws a new batch.
        recipe: gives the seed and the number of batches that are kept.
    """
    memory: deque[Samples] = deque(maxlen=recipe.memory)
    rng = np.random.default_rng((recipe.seed, 4))
    while True:
        memory.append(draw(rng))
        yield memory[-1]
        yield memory[int(rng.integers(len(memory)))]
