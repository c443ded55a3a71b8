"""Attention by oneDNN's products: a head at a time in float32, several heads at once where products are short.

At 577 tokens, 16 heads of 64 values in float32, it takes two thirds of the time of torch's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from janus_vit.model.engines.packed_linear import product

_SHORT = 160  # tokens below which calling oneDNN for each head costs more than its products save
_SCORES = 1_400_000  # of all heads that are worked on at once: what stays in the caches of a core or two


def attend(query: Tensor, key: Tensor, value: Tensor, sizes: Tensor | None) -> Tensor:
    """Attention of queries that are scaled already.

    Args:
        query, key, value: [B, heads, T, head_width]. sizes: [B, T] patches of each token, whose logarithm is added to
            the scores; None where each is 1.

    Returns:
        [B, T, heads * head_width].
    """
    batch, heads, count, head_width = query.shape
    bias = None if sizes is None else sizes.log().to(query.dtype)  # [B, T]
    by_head = query.dtype == torch.float32 and count >= _SHORT
    attended = [
        (_each_head if by_head else _all_heads)(query[one], key[one], value[one], None if bias is None else bias[one])
        for one in range(batch)
    ]
    return torch.stack(attended).view(batch, count, heads * head_width)


def _each_head(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """[heads, T, head_width] to [T, heads, head_width]; the bias [T] of the keys is that of a linear layer."""
    # oneDNN is a hundred times slower on weights that are not contiguous.
    triples = zip(query.contiguous(), key.contiguous(), value.transpose(1, 2).contiguous(), strict=True)
    return torch.stack([product(product(q, k, bias).softmax(dim=-1), v) for q, k, v in triples], dim=1)


def _all_heads(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """[heads, T, head_width] to [T, heads, head_width]."""
    together = max(1, _SCORES // query.shape[1] ** 2)
    parts = zip(*(torch.split(each, together) for each in (query, key, value)), strict=True)
    return torch.cat([_heads_together(q, k, v, bias) for q, k, v in parts]).transpose(0, 1)


def _heads_together(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    scores = query @ key.transpose(1, 2)
    if bias is not None:
        scores += bias
    return scores.softmax(dim=-1) @ value
