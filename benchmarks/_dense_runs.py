"""Run a network on images with merging and a split; return its embedding, and its patches after unmerging."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from janus_vit.model.merging import Matching, match_tokens, merge_tokens
from janus_vit.model.vit import VisionTransformer
from janus_vit.planning.payloads import PayloadFormat
from janus_vit.wire.tokens import decode_tokens, encode_tokens

Match = Callable[[Tensor, int, int], Matching]  # keys, merges, protected; as `match_tokens`


@dataclass(frozen=True)
class Crossing:
    """Where tokens cross the network, and in which format.

    Attributes:
        split: number of blocks before it.
        payload: format of the tokens.
    """

    split: int
    payload: PayloadFormat


@dataclass(frozen=True)
class DenseOutput:
    """Outputs of a run.

    Attributes:
        embedding: class token after the last norm, [B, C].
        patches: the patch grid after the last norm, [B, patches, C]; a patch takes the token that it was merged into.
        size_bytes: mean payload bytes of one image; 0 without a crossing.
    """

    embedding: Tensor
    patches: Tensor
    size_bytes: float = 0.0


def random_match(keys: Tensor, merges: int, protected: int) -> Matching:
    """Match tokens at random, as a reference for `match_tokens`."""
    generator = torch.Generator().manual_seed(merges)
    return match_tokens(torch.randn(keys.shape, generator=generator), merges, protected)


def run_dense(
    network: VisionTransformer,
    pixels: Tensor,
    merges: tuple[int, ...],
    crossing: Crossing | None = None,
    match: Match = match_tokens,
) -> DenseOutput:
    """Run all blocks on all tokens, the last block too.

    Args:
        network: a network whose first prefix token is its class token.
        pixels: normalised, [B, *input_shape].
        merges: number of tokens merged in each block.
        crossing: where tokens cross the network; None if they do not.
        match: chooses the tokens that merge.
    """
    prefix = network.architecture.prefix
    tokens = network.embed(pixels)
    sizes = torch.ones(tokens.shape[:2])
    places = torch.arange(tokens.shape[1]).expand(len(tokens), -1)  # [B, T] the token that each first token is in
    size_bytes = 0.0
    blocks: Any = network.blocks
    for index, block in enumerate(blocks):
        if crossing is not None and index == crossing.split:
            tokens, sizes, size_bytes = _send(tokens, sizes, crossing.payload)
        attended, keys = block.attn(block.norm1(tokens), sizes if tokens.shape[1] < places.shape[1] else None)
        tokens = tokens + block.ls1(attended)
        if merges[index]:
            matching = match(keys, merges[index], prefix)
            tokens, sizes = merge_tokens(tokens, sizes, matching)
            places = _follow(places, matching)
        tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
    tokens = network.norm(tokens)
    rows = places[:, prefix:, None].expand(-1, -1, tokens.shape[2])
    return DenseOutput(tokens[:, 0], tokens.gather(1, rows), size_bytes)


def _follow(places: Tensor, matching: Matching) -> Tensor:
    source, target, kept = matching
    after = torch.empty(len(kept), kept.shape[1] + source.shape[1], dtype=torch.long)
    after.scatter_(1, kept, torch.arange(kept.shape[1]).expand_as(kept))
    after.scatter_(1, source, after.gather(1, target))
    return after.gather(1, places)


def _send(tokens: Tensor, sizes: Tensor, payload: PayloadFormat) -> tuple[Tensor, Tensor, float]:
    """Encode and decode the tokens of each image."""
    bodies = [encode_tokens(row, each, payload) for row, each in zip(tokens, sizes, strict=True)]
    received = [decode_tokens(body, payload, *tokens.shape[1:]) for body in bodies]
    arrived, counts = (torch.stack(parts) for parts in zip(*received, strict=True))
    return arrived, counts, sum(map(len, bodies)) / len(bodies)
