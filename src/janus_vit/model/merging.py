"""Token merging: bipartite soft matching and size-weighted means. Works on tensors and knows no model.

Written from the published description of ToMe (Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023):
mergeable tokens alternate between two sets A and B, each token of A proposes its most similar token of B by cosine
similarity of attention keys averaged over heads, and the r best proposals are merged. Tokens keep their order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Matching(NamedTuple):
    """The pairs of tokens to merge, as token indices.

    Attributes:
        source: [B, r] tokens that merge into their targets and disappear.
        target: [B, r] the token that each source merges into.
        kept: [B, T - r] tokens that remain, ascending.
    """

    source: Tensor
    target: Tensor
    kept: Tensor


def match_tokens(keys: Tensor, merges: int, protected: int) -> Matching:
    """Find the `merges` most similar pairs between alternating tokens.

    Args:
        keys: [B, heads, T, head_width] attention keys.
        merges: r, at least 1 and at most half of the T - protected mergeable tokens.
        protected: number of leading tokens that never merge (class and register tokens).
    """
    metric = keys.mean(dim=1)[:, protected:]
    metric = metric / metric.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    batch, mergeable = metric.shape[0], metric.shape[1]
    similarity = metric[:, 0::2] @ metric[:, 1::2].transpose(1, 2)  # [B, |A|, |B|]
    best, partner = similarity.max(dim=-1)
    chosen = best.topk(merges, dim=-1).indices  # [B, r] positions in A
    source = protected + 2 * chosen
    target = protected + 2 * partner.gather(1, chosen) + 1
    count = protected + mergeable
    # Sources get the largest index, so the smallest are those that stay. This needs no synchronisation with a GPU.
    places = torch.arange(count, device=keys.device).expand(batch, -1).scatter(1, source, count)
    kept = places.topk(count - merges, dim=1, largest=False).values
    return Matching(source, target, kept)


def merge_tokens(tokens: Tensor, sizes: Tensor, matching: Matching) -> tuple[Tensor, Tensor]:
    """Replace each matched pair by its mean, weighted by sizes.

    Args:
        tokens: [B, T, C].
        sizes: [B, T] patches that each token stands for.
        matching: r pairs for each frame.

    Returns:
        tokens [B, T - r, C] and sizes [B, T - r].
    """
    source, target, kept = matching
    source_sizes = sizes.gather(1, source)
    merged_sizes = sizes.scatter_add(1, target, source_sizes)
    # Only targets change: target <- target * (own size / merged size) + sum of source * (source size / merged size).
    share = source_sizes / merged_sizes.gather(1, target)
    moved = _rows(tokens, source) * share[..., None]
    merged = tokens * (sizes / merged_sizes)[..., None]
    rows, places, moved = merged.flatten(0, 1), _places(target, tokens), moved.flatten(0, 1)
    if rows.is_cuda:  # `index_add_` adds in random order there, so repeated runs would differ
        rows.index_put_((places,), moved, accumulate=True)
    else:
        rows.index_add_(0, places, moved)  # three times as fast as `scatter_add`
    return _rows(merged, kept), merged_sizes.gather(1, kept)


def follow(token_of_patch: Tensor, matching: Matching, tokens: int) -> Tensor:
    """Find the token that each patch is in after a merge.

    Args:
        token_of_patch: [B, P] index of the token that each patch was in before.
        matching: r pairs for each frame.
        tokens: number of tokens before the merge.

    Returns:
        [B, P] indices into the tokens that remain.
    """
    source, target, kept = matching
    places = torch.arange(kept.shape[1], device=kept.device).expand_as(kept)
    moved = kept.new_empty(len(kept), tokens).scatter_(1, kept, places)  # old index to new index
    moved.scatter_(1, source, moved.gather(1, target))
    return moved.gather(1, token_of_patch)


def _rows(tokens: Tensor, indices: Tensor) -> Tensor:
    """Select tokens [B, n, C] at indices [B, n] from [B, T, C], by whole rows: ten times as fast as `gather`."""
    return tokens.flatten(0, 1).index_select(0, _places(indices, tokens)).view(len(tokens), -1, tokens.shape[-1])


def _places(indices: Tensor, tokens: Tensor) -> Tensor:
    """Convert indices [B, n] into tokens [B, T, C] to indices [B n] into the flat rows [B T, C]."""
    if len(tokens) == 1:
        return indices[0]  # saves operations in the most frequent case
    first = torch.arange(len(tokens), device=tokens.device)[:, None] * tokens.shape[1]
    return (indices + first).flatten()
