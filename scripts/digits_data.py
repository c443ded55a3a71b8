"""The split of scikit-learn's handwritten digits, and cluttered scenes drawn from them in a background process."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator
from multiprocessing.queues import Queue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from training_task import Recipe, Samples, replayed

from janus_vit.sources.scenes import STYLE, SceneStyle, compose_scene

_BATCHES_AHEAD = 32  # drawn in the background


class Digits(NamedTuple):
    """Some of the data set's digits.

    Attributes:
        images: values 0 to 16, [n, 8, 8].
        labels: the digits 0 to 9, [n].
        indices: positions in the data set, [n].
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]


def split_digits(recipe: Recipe) -> tuple[Digits, Digits]:
    """Split the data set into training and test digits, by the recipe's seed."""
    source = load_digits()
    order = np.random.default_rng(recipe.seed).permutation(len(source.images))
    parts = (np.sort(order[recipe.test_digits :]), np.sort(order[: recipe.test_digits]))
    train, test = (Digits(source.images[p].astype(np.float32), source.target[p], p) for p in parts)
    return train, test


def draw(digits: Digits, targets: NDArray[np.int64], rng: np.random.Generator, style: SceneStyle = STYLE) -> Samples:
    """Draw one grey scene [S, S] per target, with clutter from the same digits.

    Args:
        digits: the digits to draw from.
        targets: index into `digits` of each scene's digit, [n].
        rng: random generator.
        style: how the scenes look.
    """
    grey = np.stack([compose_scene(rng, digits.images[target], digits.images, style) for target in targets])
    return Samples(grey, digits.labels[targets])


def batches(recipe: Recipe) -> Iterator[Samples]:
    """Yield training batches without end. A process in the background draws them ahead."""
    context = multiprocessing.get_context("spawn")
    queue: Queue[Samples] = context.Queue(maxsize=_BATCHES_AHEAD)
    process = context.Process(target=_draw_forever, args=(recipe, queue), daemon=True)
    process.start()
    try:
        yield from replayed(lambda rng: queue.get(), recipe)
    finally:
        process.terminate()
        process.join()


def _draw_forever(recipe: Recipe, queue: Queue[Samples]) -> None:
    digits, _ = split_digits(recipe)
    for number in itertools.count():
        rng = np.random.default_rng((recipe.seed, 1, number))
        queue.put(draw(digits, rng.integers(0, len(digits.labels), recipe.batch), rng))
