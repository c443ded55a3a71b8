"""What `train_digits.py` trains on: its recipe, the split of the digits, and scenes drawn ahead in the background."""

from __future__ import annotations

import itertools
import math
import multiprocessing
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.queues import Queue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from janus_vit.sources.scenes import STYLE, SceneStyle, compose_scene

ATTRIBUTION = (
    "Digits: scikit-learn's load_digits, a copy of the test set of the UCI ML data set 'Optical Recognition of "
    "Handwritten Digits' by E. Alpaydin and C. Kaynak, 1998, CC BY 4.0, https://doi.org/10.24432/C50P49. "
    "Changed: the digits were scaled, tilted, cut and composed into cluttered scenes."
)
_AHEAD = 32  # batches drawn ahead


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number that the training depends on.

    Attributes:
        seed: of the split, the scenes and the weights.
        minutes: length of the training; the rate follows the clock.
        young_depth: blocks that are trained; the others are put before them in the end.
        batch: scenes in a step.
        rate: largest learning rate, reached after `warmup` steps, then a cosine down to 1 % of it.
        decay: weight decay of matrices.
        smoothing: label smoothing.
        average: decay of the running mean of the weights, which is what is stored.
        memory: batches that are kept; every second step sees one of them again.
        mean, std: of the pixels, 0 to 1; a model's input is (pixels / 255 - mean) / std.
        test_digits: digits kept from training.
        frames: scenes drawn from them.
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
        """Learning rate of a step at a share of the whole time."""
        warm = min(1.0, (step + 1) / self.warmup)
        return self.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


class Digits(NamedTuple):
    """Digits [n, 8, 8] with values 0 to 16, their labels [n], and their places [n] in the data set."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]


class Batch(NamedTuple):
    """Scenes [B, S, S] uint8 grey and labels [B]."""

    grey: NDArray[np.uint8]
    labels: NDArray[np.int64]


def split_digits(recipe: Recipe) -> tuple[Digits, Digits]:
    """Training and test digits, which share none."""
    source = load_digits()
    order = np.random.default_rng(recipe.seed).permutation(len(source.images))
    parts = (np.sort(order[recipe.test_digits :]), np.sort(order[: recipe.test_digits]))
    train, test = (Digits(source.images[p].astype(np.float32), source.target[p], p) for p in parts)
    return train, test


def draw(digits: Digits, targets: NDArray[np.int64], rng: np.random.Generator, style: SceneStyle = STYLE) -> Batch:
    """A scene for each target, cluttered with fragments of the same digits."""
    grey = np.stack([compose_scene(rng, digits.images[target], digits.images, style) for target in targets])
    return Batch(grey, digits.labels[targets])


def produce(recipe: Recipe, queue: Queue[Batch]) -> None:
    """Draw batches without end, in a process of its own."""
    digits, _ = split_digits(recipe)
    for number in itertools.count():
        rng = np.random.default_rng((recipe.seed, 1, number))
        queue.put(draw(digits, rng.integers(0, len(digits.labels), recipe.batch), rng))


def batches(recipe: Recipe) -> Iterator[Batch]:
    """Batches without end: a new one, drawn ahead in the background, and one of the last again in turn."""
    context = multiprocessing.get_context("spawn")
    queue: Queue[Batch] = context.Queue(maxsize=_AHEAD)
    process = context.Process(target=produce, args=(recipe, queue), daemon=True)
    process.start()
    memory: deque[Batch] = deque(maxlen=recipe.memory)
    rng = np.random.default_rng((recipe.seed, 4))
    try:
        while True:
            memory.append(queue.get())
            yield memory[-1]
            yield memory[int(rng.integers(len(memory)))]
    finally:
        process.terminate()
        process.join()
