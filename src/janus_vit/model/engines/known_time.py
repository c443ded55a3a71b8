"""An engine that takes a known time and computes nothing: for tests and benchmarks of serving."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from janus_vit.model.catalog import Model
from janus_vit.model.stage import Activation
from janus_vit.planning.accuracy.table import FLOAT32


class KnownTimeEngine:
    """Takes `fixed_s` for a batch and `frame_s` for each of its frames, spread evenly over the blocks.

    Args:
        model: gives the number of blocks and of classes.
        fixed_s: fixed part of the time of a batch that runs the whole model.
        frame_s: additional time of each frame in the batch.
        wait: sleeps for the given number of seconds.
    """

    name = "known-time"
    precision = FLOAT32
    device = torch.device("cpu")

    def __init__(
        self, model: Model, fixed_s: float, frame_s: float, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._blocks = model.shape.blocks
        self._fingerprint = model.fingerprint
        self._fixed_s = fixed_s
        self._frame_s = frame_s
        self._wait = wait
        self._output = torch.zeros(1, model.network.output_width)
        self._tokens, self._sizes = torch.zeros(1, 1, 1), torch.ones(1, 1)

    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """See `Engine.embed`; takes no time."""
        return Activation(self._tokens, self._sizes, 0, merges, self._fingerprint)

    def run(self, activation: Activation, stop: int) -> Activation:
        """See `Engine.run`."""
        return self.run_batch([activation], stop)[0]

    def head(self, activation: Activation) -> Tensor:
        """See `Engine.head`; takes no time."""
        return self._output

    def embed_batch(self, pixels: Tensor, merges: Sequence[tuple[int, ...]]) -> list[Activation]:
        """See `Engine.embed_batch`; takes no time."""
        return [self.embed(pixels, plan) for plan in merges]

    def run_batch(self, activations: Sequence[Activation], stop: int) -> list[Activation]:
        """See `Engine.run_batch`."""
        count = stop - activations[0].next_block
        self._wait(count / self._blocks * (self._fixed_s + self._frame_s * len(activations)))
        return [replace(activation, next_block=stop, merges=activation.merges[count:]) for activation in activations]

    def head_batch(self, activations: Sequence[Activation]) -> Tensor:
        """See `Engine.head_batch`; takes no time."""
        return self._output.expand(len(activations), -1)

    def upload(self, tensor: Tensor) -> Tensor:
        """See `Engine.upload`: the tensor itself."""
        return tensor
