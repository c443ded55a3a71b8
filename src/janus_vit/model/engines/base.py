"""What an engine does: run parts of one model. It knows no network and no policy."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from janus_vit.model.stage import Activation


class Engine(Protocol):
    """Runs the stem, a range of blocks, and the head.

    Tokens and sizes cross its border as float32 on the CPU or on the device of the engine, whatever it computes in.

    Attributes:
        name: under which profiles record what was measured with it.
        precision: of what it computes in. Engines of one precision give the same answers, so accuracy that was
            measured with one holds for the other; where precisions differ it has to be measured again.
    """

    name: str
    precision: str

    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """Pixels [B, 3, H, W] to the activation before the first block; `merges` has one number a block."""

    def run(self, activation: Activation, stop: int) -> Activation:
        """Run blocks [activation.next_block, stop).

        After the last one there are only the tokens that the head reads (`ModelShape.head_tokens`), and nothing merges
        in it, whatever the activation's last number says, unless the head reads all.
        """

    def head(self, activation: Activation) -> Tensor:
        """Logits [B, classes] of an activation after the last block, float32 on the CPU."""
