"""Attention in two variants: torch's own, and oneDNN products (one head at a time in float32, a few in bfloat16).

On an AMD EPYC (Zen 5), at 577 tokens and 16 heads of 64 values, oneDNN takes two thirds of torch's time in float32 and
less than half in bfloat16. On an Intel Xeon with AMX it takes 1.5 and 1.8 times as long.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.engines.packed_linear import product
from janus_vit.model.layers import size_bias

# Below this number of tokens torch is as fast, because each call of oneDNN has a fixed cost.
_SHORT = {torch.float32: 220, torch.bfloat16: 56}
_SCORES = 1_400_000  # scores of all heads in one product: they fit the caches of one or two cores


def attend_plainly(query: Tensor, key: Tensor, value: Tensor, sizes: Tensor | None) -> Tensor:
    """Run torch's own attention; see `attend` for the arguments."""
    bias = size_bias(sizes, query.dtype, query.shape[2])
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
    return attended.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, sizes: Tensor | None) -> Tensor:
    """Run attention on scaled queries; on oneDNN if there are enough tokens.

    Args:
        query: [B, heads, Q, head_width], already scaled.
        key: [B, heads, T, head_width].
        value: [B, heads, T, head_width].
        sizes: [B, T] patches of each token; their logarithms are added to the scores. None if all are 1.

    Returns:
        [B, Q, heads * head_width].
    """
    batch, heads, count, head_width = query.shape
    if count < _SHORT[query.dtype]:
        return attend_plainly(query, key, value, sizes)
    rows = [part.flatten(0, 1) for part in (query, key, value)]  # heads of all frames, [B * heads, T, ...]
    bias = None if sizes is None else sizes.log().to(query.dtype).repeat_interleave(heads, dim=0)
    by_heads = _each_head if query.dtype == torch.float32 else _some_heads
    attended = by_heads(rows[0], rows[1], rows[2], bias).view(batch, heads, count, head_width)
    return attended.transpose(1, 2).reshape(batch, count, heads * head_width)


def _each_head(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Use keys and values of each head as the weights of two linear layers; the size bias is the bias of the first."""
    biases = [None] * len(query) if bias is None else bias
    # oneDNN is a hundred times slower on weights that are not contiguous.
    heads = zip(query.contiguous(), key.contiguous(), value.transpose(1, 2).contiguous(), biases, strict=True)
    return torch.stack([product(product(q, k, b).softmax(dim=-1), v) for q, k, v, b in heads])


def _some_heads(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Process equal groups of heads, as large as `_SCORES` allows: oneDNN caches half a megabyte for each shape."""
    allowed = max(1, _SCORES // query.shape[1] ** 2)
    together = next(count for count in range(allowed, 0, -1) if len(query) % count == 0)
    attended = []
    for first in range(0, len(query), together):
        some = slice(first, first + together)
        scores = query[some] @ key[some].transpose(1, 2)
        if bias is not None:
            scores += bias[some, None]
        attended.append(scores.softmax(dim=-1) @ value[some])
    return torch.cat(attended)
