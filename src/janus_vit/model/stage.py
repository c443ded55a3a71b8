"""The state that crosses a split, and functions that run a range of blocks on it. Knows no link and no policy.

A run that is split at any block and resumed, here or on another machine, gives the same bits as an unsplit run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from janus_vit.model.vit import VisionTransformer


@dataclass(frozen=True)
class Activation:
    """The state of a run: everything that the remaining blocks and the head need.

    Attributes:
        tokens: [B, T, C]; after the last block only those that the head reads.
        sizes: [B, T] patches that each token stands for, at least 1.
        next_block: zero-based index of the next block; also the number of blocks that have run.
        merges: number of tokens that each remaining block merges, `blocks - next_block` numbers.
        fingerprint: identity of the model that made it.
    """

    tokens: Tensor
    sizes: Tensor
    next_block: int
    merges: tuple[int, ...]
    fingerprint: str


def embed(
    model: VisionTransformer,
    pixels: Tensor,
    merges: tuple[int, ...],
    fingerprint: str,
    patches: Callable[[Tensor], Tensor] | None = None,
) -> Activation:
    """Run the stem and add position embeddings: return the activation before the first block.

    Args:
        model: the network.
        pixels: normalised, [B, *input_shape].
        merges: tokens that each block merges.
        fingerprint: identity of the model.
        patches: replaces the model's own stem, as in `VisionTransformer.embed`.
    """
    tokens = model.embed(pixels, patches)
    sizes = torch.ones(tokens.shape[:2], dtype=torch.float32, device=tokens.device)
    return Activation(tokens, sizes, 0, merges, fingerprint)


# Has the arguments of `layers.Block.forward`.
BlockRunner = Callable[[Tensor, Tensor, Tensor | None, int, int, int | None], tuple[Tensor, Tensor]]


def run_blocks(
    model: VisionTransformer, activation: Activation, stop: int, blocks: Sequence[BlockRunner] | None = None
) -> Activation:
    """Run blocks [activation.next_block, stop) and merge tokens as planned.

    The last block computes only the tokens that the head reads. It merges none then, because that would save no time.

    Args:
        model: the network.
        activation: the current state of the run.
        stop: block to stop before.
        blocks: replace the model's own blocks, one for each.
    """
    runners: Any = model.blocks if blocks is None else blocks  # a ModuleList is not a Sequence
    tokens, sizes, arch = activation.tokens, activation.sizes, model.architecture
    count = stop - activation.next_block
    for index in range(activation.next_block, stop):
        head_tokens = arch.head_tokens if index == arch.depth - 1 else None
        merges = activation.merges[index - activation.next_block] if head_tokens is None else 0
        # As long as each token stands for one patch, the attention bias is zero, so leaving it out is exact.
        bias_sizes = sizes if tokens.shape[1] < arch.tokens else None
        tokens, sizes = runners[index](tokens, sizes, bias_sizes, merges, arch.prefix, head_tokens)
    return replace(activation, tokens=tokens, sizes=sizes, next_block=stop, merges=activation.merges[max(count, 0) :])


def head(model: VisionTransformer, activation: Activation) -> Tensor:
    """Run the final norm, pooling and classifier: return logits [B, classes]."""
    return model.head_logits(activation.tokens, activation.sizes)
