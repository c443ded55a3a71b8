"""What an engine does: run parts of one model. It knows no network and no policy."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from janus_vit.model.stage import Activation


class Engine(Protocol):
    """Runs the stem, a range of blocks, and the head.

    Attributes:
        name: under which files record what was measured with it.
    """

    name: str

    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """Pixels [B, 3, H, W] to the activation before the first block; `merges` has one number a block."""

    def run(self, activation: Activation, stop: int) -> Activation:
        """Run blocks [activation.next_block, stop)."""

    def head(self, activation: Activation) -> Tensor:
        """Logits [B, classes] of an activation after the last block, float32 on the CPU."""
