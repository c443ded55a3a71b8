"""The interface of an engine, which runs parts of one model. It knows no network connection and no policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from janus_vit.model.stage import Activation


class Engine(Protocol):
    """Runs the stem, a range of blocks, and the head.

    Tokens and sizes enter and leave as float32, on the CPU or on the engine's device.

    Attributes:
        name: the name that users write. Profiles record it beside what was measured.
        precision: the precision of the linear layers. Engines of one precision give the same answers, so an accuracy
            that was measured with one engine holds for all of them.
        device: the best place to normalise pixels for `embed_batch`.
    """

    name: str
    precision: str
    device: torch.device

    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """Run the stem on pixels [B, 3, H, W] and return the activation before the first block.

        Args:
            pixels: normalised frames.
            merges: the number of tokens that each block merges, one number a block.
        """

    def run(self, activation: Activation, stop: int) -> Activation:
        """Run blocks [activation.next_block, stop).

        The last block returns only the tokens that the head reads (`ModelShape.head_tokens`). It merges none, unless
        the head reads all tokens.
        """

    def head(self, activation: Activation) -> Tensor:
        """Return the logits [B, classes] of an activation after the last block, float32 on the CPU.

        Dense heads return their own output, [B, ...]; segments are integers.
        """

    def embed_batch(self, pixels: Tensor, merges: Sequence[tuple[int, ...]]) -> list[Activation]:
        """Run the stem on several frames.

        Args:
            pixels: normalised frames [B, 3, H, W].
            merges: for each frame, one number a block.

        Returns:
            One activation a frame, tokens [1, T, C].
        """

    def run_batch(self, activations: Sequence[Activation], stop: int) -> list[Activation]:
        """Run blocks [next_block, stop) on several frames, each with its own tokens, sizes and merges.

        Each result is what `run` gives for that frame alone, within the rounding of the engine's precision. A frame
        with values that are not finite does not change the others.

        Args:
            activations: tokens [1, T_i, C], all with the same next block and the same model.
            stop: block to stop before.
        """

    def head_batch(self, activations: Sequence[Activation]) -> Tensor:
        """Return the logits [B, classes] of several frames [1, T_i, C] after the last block, float32 on the CPU."""

    def upload(self, tensor: Tensor) -> Tensor:
        """Copy a frame's pixels or tokens to the engine's device while the engine computes something else.

        Any thread may call it, before the frame's batch runs. It returns when the copy is complete.
        """


class OneByOne:
    """Batch methods for engines that gain nothing from batches. Each frame runs alone, so its bits do not change."""

    device = torch.device("cpu")

    def embed_batch(self: Engine, pixels: Tensor, merges: Sequence[tuple[int, ...]]) -> list[Activation]:
        """See `Engine.embed_batch`."""
        return [self.embed(frame, plan) for frame, plan in zip(torch.split(pixels, 1), merges, strict=True)]

    def run_batch(self: Engine, activations: Sequence[Activation], stop: int) -> list[Activation]:
        """See `Engine.run_batch`."""
        return [self.run(activation, stop) for activation in activations]

    def head_batch(self: Engine, activations: Sequence[Activation]) -> Tensor:
        """See `Engine.head_batch`."""
        return torch.cat([self.head(activation) for activation in activations])

    def upload(self, tensor: Tensor) -> Tensor:
        """See `Engine.upload`: the tensor itself."""
        return tensor
