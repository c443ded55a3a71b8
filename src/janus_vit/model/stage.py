"""The state that crosses a split, and functions that run a range of blocks on it. Knows no link and no policy.

A run that is split at any block and resumed, here or on another machine, gives the same bits as an unsplit run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.merging import Matching, follow
from janus_vit.model.vit import Architecture, VisionTransformer


@dataclass(frozen=True)
class Tap:
    """The tokens of an earlier block, which a dense head reads beside those of the last one.

    Attributes:
        tokens: [B, T, C].
        token_of_patch: [B, P] index of the token that each patch is in.
    """

    tokens: Tensor
    token_of_patch: Tensor


@dataclass(frozen=True)
class Activation:
    """The state of a run: everything that the remaining blocks and the head need.

    Attributes:
        tokens: [B, T, C]; after the last block only those that the head reads.
        sizes: [B, T] patches that each token stands for, at least 1.
        next_block: zero-based index of the next block; also the number of blocks that have run.
        merges: number of tokens that each remaining block merges, `blocks - next_block` numbers.
        fingerprint: identity of the model that made it.
        token_of_patch: [B, P] index of the token that each patch is in; None if nothing needs it.
            Rotary positions are the mean positions of the patches in a token.
        taps: tokens of earlier blocks that the head reads, in the order of `Architecture.taps`.
    """

    tokens: Tensor
    sizes: Tensor
    next_block: int
    merges: tuple[int, ...]
    fingerprint: str
    token_of_patch: Tensor | None = None
    taps: tuple[Tap, ...] = ()

    @property
    def tap_tokens(self) -> tuple[int, ...]:
        """Number of tokens of each tap."""
        return tuple(tap.tokens.shape[1] for tap in self.taps)


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
    token_of_patch = unmerged_places(len(tokens), model.architecture, tokens.device)
    return Activation(tokens, sizes, 0, merges, fingerprint, token_of_patch)


def unmerged_places(batch: int, arch: Architecture, device: torch.device | None = None) -> Tensor | None:
    """Return the token of each patch before anything merges, [batch, P]; None if nothing needs it."""
    if not arch.tracks_patches:
        return None
    return torch.arange(arch.prefix, arch.tokens, device=device).expand(batch, -1)


def made_up(
    arch: Architecture, tokens: Tensor, sizes: Tensor, next_block: int, merges: tuple[int, ...], fingerprint: str
) -> Activation:
    """Return an activation of made-up tokens [B, T, C], for timing: patches are spread evenly over the tokens."""
    places = None
    if arch.tracks_patches:
        own = tokens.shape[1] - arch.prefix
        spread = arch.prefix + torch.arange(arch.patches, device=tokens.device) * own // arch.patches
        places = spread.expand(len(tokens), -1)
    return Activation(tokens, sizes, next_block, merges, fingerprint, places)


# Has the arguments and the results of `layers.Block.forward`.
BlockRunner = Callable[
    [Tensor, Tensor, Tensor | None, int, int, int | None, Tensor | None], tuple[Tensor, Tensor, Matching | None]
]


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
    token_of_patch, taps = activation.token_of_patch, activation.taps
    count, rotation, moved = stop - activation.next_block, None, True
    for index in range(activation.next_block, stop):
        head_tokens = arch.head_tokens if index == arch.depth - 1 else None
        merges = activation.merges[index - activation.next_block] if head_tokens is None else 0
        # As long as each token stands for one patch, the attention bias is zero, so leaving it out is exact.
        before, protected = tokens.shape[1], arch.protected(index)
        bias_sizes = sizes if before - protected < arch.patches else None
        if token_of_patch is not None and index in arch.taps:
            taps = (*taps, Tap(tokens, token_of_patch))
        if model.rotary is not None and (moved or model.rotary.differs):
            rotation = model.rotary(index, sizes, protected, token_of_patch)
        state = tokens, sizes, bias_sizes, merges, protected, head_tokens, rotation
        tokens, sizes, matching = runners[index](*state)
        moved = matching is not None
        if token_of_patch is not None and matching is not None:
            token_of_patch = follow(token_of_patch, matching, before)
        if model.late_tokens is not None and index + 1 == arch.late_block:
            tokens = torch.cat([model.late_tokens.expand(len(tokens), -1, -1), tokens], dim=1)
            sizes, moved = F.pad(sizes, (arch.late_tokens, 0), value=1.0), True
            token_of_patch = None if token_of_patch is None else token_of_patch + arch.late_tokens
    if stop == arch.depth and not arch.reads_grid:
        token_of_patch = None  # the head does not read it
    return replace(
        activation,
        tokens=tokens,
        sizes=sizes,
        next_block=stop,
        merges=activation.merges[max(count, 0) :],
        token_of_patch=token_of_patch,
        taps=taps,
    )


def split_frames(activation: Activation) -> list[Activation]:
    """Return the frames of a batch one by one, tokens [1, T, C]."""

    def frame(index: int) -> Activation:
        return _map(lambda tensor: tensor[index : index + 1], activation)

    return [frame(index) for index in range(len(activation.tokens))]


def join_frames(frames: Sequence[Activation]) -> Activation:
    """Return frames with as many tokens each as one batch."""
    return _map(lambda *tensors: torch.cat(tensors), *frames)


def move(activation: Activation, device: torch.device) -> Activation:
    """Return an activation whose tensors are on a device."""
    return _map(lambda tensor: tensor.to(device), activation)


def _map(change: Callable[..., Tensor], first: Activation, *others: Activation) -> Activation:
    """Apply a function to each tensor of an activation, or to the same tensor of several."""
    same = [first, *others]
    places = [each.token_of_patch for each in same]
    taps = zip(*(each.taps for each in same), strict=True)
    return replace(
        first,
        tokens=change(*(each.tokens for each in same)),
        sizes=change(*(each.sizes for each in same)),
        token_of_patch=None if first.token_of_patch is None else change(*places),
        taps=tuple(
            Tap(change(*(tap.tokens for tap in each)), change(*(tap.token_of_patch for tap in each))) for each in taps
        ),
    )


def head(model: VisionTransformer, activation: Activation) -> Tensor:
    """Run the final norm, pooling and classifier: return logits [B, classes], or the output of the dense head."""
    if model.dense_head is not None:
        pairs = zip(activation.taps, model.architecture.taps, strict=True)
        features = [model.features(tap.tokens, tap.token_of_patch, blocks) for tap, blocks in pairs]
        last = model.features(activation.tokens, activation.token_of_patch, activation.next_block)
        output: Tensor = model.dense_head([*features, last])
        return output
    return model.head_logits(activation.tokens, activation.sizes)
