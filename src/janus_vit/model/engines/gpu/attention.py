"""Attention within each frame of ragged rows, without masks: sizes and padding are channels of the keys.

Queries are scaled already. Heads are widened (`ragged.with_size_channels`) wherever a step is proportional.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.engines.gpu import ragged
from janus_vit.model.engines.gpu.layout import Step


@cache
def _varlen_attn() -> Callable[..., Any] | None:
    """Import torch's attention over variable lengths. It takes seconds, so only where a GPU needs it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # before torch 2.10
        return None
    found: Callable[..., Any] = varlen_attn
    return found


class Attention(Protocol):
    """Attends in each frame.

    Attributes:
        masks: whether frames of different lengths need the channels for sizes, since they are padded.
        capturable: whether it needs nothing of a run but its `BlockRows` and its table, as in `Operations`.
    """

    masks: bool
    capturable: bool

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, step: Step) -> Tensor:
        """[rows of queries, heads, width] and [rows, heads, width] to [rows of queries, heads, width]."""


class FrameByFrame:
    """The reference: one frame after the other."""

    masks = False
    capturable = False

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, step: Step) -> Tensor:
        """See `Attention`."""
        queries = step.counts_before if step.rows.head_tokens is None else step.counts_after
        return ragged.attend(query, key, value, queries, step.counts_before, None)


class Flash:
    """Flash attention over variable lengths, in bfloat16 or float16."""

    masks = False
    capturable = True

    @staticmethod
    def unavailable_reason() -> str | None:
        """Why this torch does not have it, None if it has."""
        attend = _varlen_attn()
        if attend is None or "num_splits" not in inspect.signature(attend).parameters:
            return f"torch {torch.__version__} has no attention over variable lengths with a fixed order of sums"
        return None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, step: Step) -> Tensor:
        """See `Attention`."""
        lengths = step.first_queries, step.before, step.most_queries, step.rows.longest_before
        # Without splits a frame's result does not depend on the rest of its batch. It also keeps cuDNN out, which
        # makes a plan for each shape in tens of milliseconds.
        attend = _varlen_attn()
        assert attend is not None
        attended: Tensor = attend(query, key, value, *lengths, scale=1.0, num_splits=1)
        return attended


class Padded:
    """Torch's attention over frames that are padded to the longest: any type, any version.

    Args:
        head_width: channels of a head before it is widened, from which on sizes are.
    """

    masks = True
    capturable = True

    def __init__(self, head_width: int) -> None:
        self._head_width = head_width

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, step: Step) -> Tensor:
        """See `Attention`."""
        if step.rows.each is not None:
            return _frames_of(step.rows.each, query, key, value, step)
        first_queries, most_queries = step.first_queries, step.most_queries
        places, missing = _places(step.before, step.rows.longest_before, len(key))
        key, value = (part[places].masked_fill_(missing[..., None, None], 0.0) for part in (key, value))
        key[..., self._head_width].masked_fill_(missing[..., None], ragged.MASKED)
        query_places, _ = _places(first_queries, most_queries, len(query))
        attended = _attend(query[query_places], key, value)
        row = torch.arange(len(query), device=query.device)
        frame = torch.searchsorted(first_queries[1:].contiguous(), row, right=True).clamp_max(len(attended) - 1)
        return attended[frame, (row - first_queries[frame]).clamp_max(most_queries - 1)]


def _frames_of(count: int, query: Tensor, key: Tensor, value: Tensor, step: Step) -> Tensor:
    """Attend in frames of `count` tokens each; rows behind the last frame, if there are any, become zeros."""
    frames = len(step.before) - 1
    queries = count if step.rows.head_tokens is None else step.rows.head_tokens
    lengths = (queries, query), (count, key), (count, value)
    parts = (part[: frames * number].reshape(frames, number, *part.shape[1:]) for number, part in lengths)
    attended = _attend(*parts).flatten(0, 1)
    return F.pad(attended, (0, 0, 0, 0, 0, len(query) - len(attended))) if len(attended) < len(query) else attended


def _places(first: Tensor, longest: int, rows: int) -> tuple[Tensor, Tensor]:
    """Row of each token of padded frames, and whether there is none: both [F, longest]."""
    index = torch.arange(longest, device=first.device)
    missing = index >= (first[1:] - first[:-1])[:, None]
    return (first[:-1, None] + index).clamp_max(rows - 1), missing


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[F, T, heads, width] to the same."""
    heads = [part.transpose(1, 2) for part in (query, key, value)]
    return F.scaled_dot_product_attention(heads[0], heads[1], heads[2], scale=1.0).transpose(1, 2)
