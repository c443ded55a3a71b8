"""Attention: torch's own, and on oneDNN, a head at a time in float32, a few heads at once in bfloat16.

At 577 tokens and 16 heads of 64 values those on oneDNN take two thirds of torch's own time in float32 and less than
half in bfloat16 on an AMD EPYC (Zen 5), but 1.5 and 1.8 times as long on an Intel Xeon with AMX.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.engines.packed_linear import product
from janus_vit.model.layers import size_bias

# Tokens below which torch's own is as fast: calling oneDNN for each head, or for each step, has its price.
_SHORT = {torch.float32: 220, torch.bfloat16: 56}
_SCORES = 1_400_000  # of all heads that are worked on at once: what stays in the caches of a core or two


def attend_plainly(query: Tensor, key: Tensor, value: Tensor, sizes: Tensor | None) -> Tensor:
    """Torch's own; arguments as in `attend`."""
    bias = size_bias(sizes, query.dtype, query.shape[2])
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
    return attended.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, sizes: Tensor | None) -> Tensor:
    """Attention of queries that are scaled already, on oneDNN if tokens are many.

    Args:
        query: [B, heads, Q, head_width]. key, value: [B, heads, T, head_width].
        sizes: [B, T] patches of each token, whose logarithm is added to the scores; None where each is 1.

    Returns:
        [B, Q, heads * head_width].
    """
    batch, heads, count, head_width = query.shape
    if count < _SHORT[query.dtype]:
        return attend_plainly(query, key, value, sizes)
    rows = [part.flatten(0, 1) for part in (query, key, value)]  # the whole batch's heads, [B * heads, T, ...]
    bias = None if sizes is None else sizes.log().to(query.dtype).repeat_interleave(heads, dim=0)
    by_heads = _each_head if query.dtype == torch.float32 else _some_heads
    attended = by_heads(rows[0], rows[1], rows[2], bias).view(batch, heads, count, head_width)
    return attended.transpose(1, 2).reshape(batch, count, heads * head_width)


def _each_head(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Keys and values are the weights of linear layers, the bias that of the first."""
    biases = [None] * len(query) if bias is None else bias
    # oneDNN is a hundred times slower on weights that are not contiguous.
    heads = zip(query.contiguous(), key.contiguous(), value.transpose(1, 2).contiguous(), biases, strict=True)
    return torch.stack([product(product(q, k, b).softmax(dim=-1), v) for q, k, v, b in heads])


def _some_heads(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """As many heads at once as `_SCORES` allows, always the same: oneDNN keeps half a megabyte for each shape."""
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
