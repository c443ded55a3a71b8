"""A slower engine than this machine's, with the batches of an accelerator: runs the real model, then waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.model.engines.base import Engine
from janus_vit.model.stage import Activation
from janus_vit.testbed.slowed_worker import run_slowed

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Slowing:
    """How much slower an engine is than this machine's.

    Attributes:
        factor: for one frame; 1 or more.
        batch_times: time of a batch of 1, 2, 3 ... frames, by that of one frame. A larger batch takes as long for each
            frame as the largest one here.

    Raises:
        InputError: the factor is below 1.
    """

    factor: float
    batch_times: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.factor >= 1:
            raise InputError(f"a slowdown of {self.factor:g} would be faster than this machine: give 1 or more")

    def of_batch(self, frames: int) -> float:
        """Factor on the time that this machine takes for so many frames, one after the other."""
        known = min(frames, len(self.batch_times))
        return self.factor * self.batch_times[known - 1] / known


class SlowedEngine:
    """An `Engine` that takes longer. Like `SlowedWorker`, it multiplies CPU time of the calling thread.

    Args:
        engine: does the work; runs batches frame by frame.
        slowing: how much slower this one is.

    Attributes:
        busy_s: time in which it ran.
        frames_s: frames in a batch times its seconds, added up.
        own_s: time that it ran, without the slowing: what this machine took.
    """

    def __init__(self, engine: Engine, slowing: Slowing) -> None:
        self._engine = engine
        self._slowing = slowing
        self.name, self.precision, self.device = engine.name, engine.precision, engine.device
        self.busy_s = self.frames_s = self.own_s = 0.0

    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """See `Engine.embed`."""
        return self._slowed(1, lambda: self._engine.embed(pixels, merges))

    def run(self, activation: Activation, stop: int) -> Activation:
        """See `Engine.run`."""
        return self._slowed(1, lambda: self._engine.run(activation, stop))

    def head(self, activation: Activation) -> Tensor:
        """See `Engine.head`."""
        return self._slowed(1, lambda: self._engine.head(activation))

    def embed_batch(self, pixels: Tensor, merges: Sequence[tuple[int, ...]]) -> list[Activation]:
        """See `Engine.embed_batch`."""
        return self._slowed(len(merges), lambda: self._engine.embed_batch(pixels, merges))

    def run_batch(self, activations: Sequence[Activation], stop: int) -> list[Activation]:
        """See `Engine.run_batch`."""
        return self._slowed(len(activations), lambda: self._engine.run_batch(activations, stop))

    def head_batch(self, activations: Sequence[Activation]) -> Tensor:
        """See `Engine.head_batch`."""
        return self._slowed(len(activations), lambda: self._engine.head_batch(activations))

    def upload(self, tensor: Tensor) -> Tensor:
        """See `Engine.upload`."""
        return self._engine.upload(tensor)

    def _slowed(self, frames: int, work: Callable[[], Result]) -> Result:
        factor = self._slowing.of_batch(frames)
        result, elapsed_s = run_slowed(work, factor)
        self.own_s += elapsed_s / factor
        self.busy_s += elapsed_s
        self.frames_s += frames * elapsed_s
        return result
