"""What an engine does: run parts of one model. It knows no network and no policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from janus_vit.model.stage import Activation


class Engine(Protocol):
    """Runs the stem, a range of blocks, and the head.

    Tokens and sizes cross its border as float32 on the CPU or on the device of the engine, whatever it computes in.

    Attributes:
        name: under which profiles record what was measured with it.
        precision: of what it computes in. Engines of one precision give the same answers, so accuracy that was
            measured with one holds for the other; where precisions differ it has to be measured again.
        device: where pixels are best normalised before `embed_batch` takes them.
    """

    name: str
    precision: str
    device: torch.device

    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """Pixels [B, 3, H, W] to the activation before the first block; `merges` has one number a block."""

    def run(self, activation: Activation, stop: int) -> Activation:
        """Run blocks [activation.next_block, stop).

        After the last one there are only the tokens that the head reads (`ModelShape.head_tokens`), and nothing merges
        in it, whatever the activation's last number says, unless the head reads all.
        """

    def head(self, activation: Activation) -> Tensor:
        """Logits [B, classes] of an activation after the last block, float32 on the CPU."""

    def embed_batch(self, pixels: Tensor, merges: Sequence[tuple[int, ...]]) -> list[Activation]:
        """Run the stem on several frames.

        Args:
            pixels: [B, 3, H, W].
            merges: of each frame, one number a block.

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
        """Logits [B, classes] of several frames [1, T_i, C] after the last block, float32 on the CPU."""


class OneByOne:
    """Batch methods of an engine that gains nothing from batches: frames run one by one, bit for bit as alone."""

    device = torch.device("cpu")

    def embed_batch(self: Engine, pixels: Tensor, merges: Sequence[tuple[int, ...]]) -> list[Activation]:
        """See `Engine.embed_batch`."""
        return [self.embed(frame, plan) for frame, plan in zip(pixels.split(1), merges, strict=True)]

    def run_batch(self: Engine, activations: Sequence[Activation], stop: int) -> list[Activation]:
        """See `Engine.run_batch`."""
        return [self.run(activation, stop) for activation in activations]

    def head_batch(self: Engine, activations: Sequence[Activation]) -> Tensor:
        """See `Engine.head_batch`."""
        return torch.cat([self.head(activation) for activation in activations])
