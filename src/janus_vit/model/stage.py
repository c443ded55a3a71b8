"""State that crosses a split, and "run the blocks from here to there on it". Knows no network and no policy.

A run that is cut at any block and resumed, here or on another machine, equals the uncut run.
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
    """Everything that the rest of a run needs.

    Attributes:
        tokens: [B, T, C]; after the last block only those that the head reads.
        sizes: [B, T] patches each token stands for, at least 1.
        next_block: zero-based index of the next block, which is also the number of blocks already run.
        merges: tokens that each of the remaining blocks has still to merge, `blocks - next_block` numbers.
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
    """Stem and position embeddings: normalised pixels [B, *input_shape] to the tokens that enter the first block.

    Args:
        patches: stands in for the model's own, as in `VisionTransformer.embed`.
    """
    tokens = model.embed(pixels, patches)
    sizes = torch.ones(tokens.shape[:2], dtype=torch.float32, device=tokens.device)
    return Activation(tokens, sizes, 0, merges, fingerprint)


# As `layers.Block.forward`.
BlockRunner = Callable[[Tensor, Tensor, Tensor | None, int, int, int | None], tuple[Tensor, Tensor]]


def run_blocks(
    model: VisionTransformer, activation: Activation, stop: int, blocks: Sequence[BlockRunner] | None = None
) -> Activation:
    """Run blocks [activation.next_block, stop), merging as planned.

    The last one computes only the tokens that the head reads, so that nothing is gained there by merging: none merge.

    Args:
        blocks: stand in for the model's own, one for each.
    """
    runners: Any = model.blocks if blocks is None else blocks  # a ModuleList is no Sequence
    tokens, sizes, arch = activation.tokens, activation.sizes, model.architecture
    count = stop - activation.next_block
    for index in range(activation.next_block, stop):
        head_tokens = arch.head_tokens if index == arch.depth - 1 else None
        merges = activation.merges[index - activation.next_block] if head_tokens is None else 0
        # While no token stands for more than one patch the attention bias is zero; skipping it is exact.
        bias_sizes = sizes if tokens.shape[1] < arch.tokens else None
        tokens, sizes = runners[index](tokens, sizes, bias_sizes, merges, arch.prefix, head_tokens)
    return replace(activation, tokens=tokens, sizes=sizes, next_block=stop, merges=activation.merges[max(count, 0) :])


def head(model: VisionTransformer, activation: Activation) -> Tensor:
    """Final norm, pooling and classifier: logits [B, classes]."""
    return model.head_logits(activation.tokens, activation.sizes)
