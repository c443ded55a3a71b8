"""Frames with different numbers of tokens as one tensor of rows, and a block over such rows in plain PyTorch.

Linear layers and norms see rows; attention and merging see frames. How many tokens each frame has is known on the host
before a run starts, so that nothing here asks a device. This is the reference for engines that run ragged batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.layers import Block, size_bias
from janus_vit.model.merging import match_tokens, merge_tokens

SIZE_CHANNELS = 2  # of a head: the logarithm of the size, and what bfloat16 rounds off from it
MASKED = -30_000.0  # in the place of the logarithm of size zero: exp() of it is zero, and no arithmetic makes it NaN


@dataclass(frozen=True)
class RaggedTokens:
    """The tokens of several frames, frame after frame.

    Attributes:
        rows: [N, C] tokens.
        sizes: [N] patches each token stands for.
        counts: tokens of each frame; they add up to N.
    """

    rows: Tensor
    sizes: Tensor
    counts: tuple[int, ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """First row of each frame, then N."""
        return offsets_of(self.counts)

    def frames(self) -> list[tuple[Tensor, Tensor]]:
        """Tokens [1, T, C] and sizes [1, T] of each frame."""
        counts = [*self.counts]
        pairs = zip(
            torch.split(self.rows[None], counts, dim=1), torch.split(self.sizes[None], counts, dim=1), strict=True
        )
        return list(pairs)


def join(frames: Sequence[tuple[Tensor, Tensor]]) -> RaggedTokens:
    """Put frames, tokens [1, T, C] and sizes [1, T], one behind the other."""
    tokens, sizes = zip(*frames, strict=True)
    counts = tuple(each.shape[1] for each in tokens)
    return RaggedTokens(torch.cat(tokens, dim=1)[0], torch.cat(sizes, dim=1)[0], counts)


def offsets_of(counts: Sequence[int]) -> tuple[int, ...]:
    """First row of each frame, then the number of all rows."""
    return tuple(accumulate(counts, initial=0))


def attend(
    query: Tensor, key: Tensor, value: Tensor, queries: Sequence[int], counts: Sequence[int], sizes: Tensor | None
) -> Tensor:
    """Attend within each frame.

    Args:
        query: [sum of queries, heads, head_width], scaled already.
        key: [N, heads, head_width].
        value: [N, heads, head_width].
        queries: query rows of each frame.
        counts: tokens of each frame.
        sizes: [N] patches of each token, whose logarithm is added to the scores; None where each is 1.

    Returns:
        [sum of queries, heads, head_width].
    """
    attended = []
    biases: Sequence[Tensor | None] = [None] * len(counts) if sizes is None else torch.split(sizes, list(counts))
    parts = (torch.split(part, list(number)) for part, number in ((query, queries), (key, counts), (value, counts)))
    for *heads, size in zip(*parts, biases, strict=True):
        q, k, v = (part.transpose(0, 1)[None] for part in heads)  # each [1, heads, T, head_width]
        bias = None if size is None else size_bias(size[None], q.dtype, q.shape[2])
        attended.append(F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)[0].transpose(0, 1))
    return torch.cat(attended)


def with_size_channels(query: Tensor, key: Tensor, value: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Widen heads so that attention without a mask is proportional: its scores contain the logarithm of the sizes.

    The new channels are 1 in queries, 0 in values, and in keys the logarithm in two parts, so that bfloat16 keeps 16
    bits of it. They fill the head width up to a multiple of 8, which flash attention needs. A size of 0 is padding.

    Args:
        query: [..., Q, heads, head_width], scaled already.
        key: [..., T, heads, head_width].
        value: [..., T, heads, head_width].
        sizes: [..., T].

    Returns:
        The same with the head width that `widened` gives.
    """
    more = widened(query.shape[-1]) - query.shape[-1]
    query = F.pad(query, (0, more))
    query[..., -more : SIZE_CHANNELS - more or None] = 1.0
    key = F.pad(key, (0, more))
    key[..., -more : SIZE_CHANNELS - more or None] = size_channels(sizes, key.dtype)[..., None, :]
    return query, key, F.pad(value, (0, more))


def size_channels(sizes: Tensor, dtype: torch.dtype) -> Tensor:
    """The logarithm of sizes [...] as two numbers that add up to it: [..., SIZE_CHANNELS]."""
    logs = sizes.float().log().clamp_min(MASKED)
    high = logs.to(dtype)
    return torch.stack([high, (logs - high.float()).to(dtype)], dim=-1)


def widened(head_width: int) -> int:
    """The head width with room for the size channels: the next multiple of 8."""
    return -(-(head_width + SIZE_CHANNELS) // 8) * 8


def merge(tokens: RaggedTokens, keys: Tensor, merges: Sequence[int], protected: int) -> RaggedTokens:
    """Merge tokens of each frame, in each another number of them.

    Args:
        keys: [N, heads, head_width] attention keys.
        merges: tokens that each frame loses.
        protected: leading tokens of a frame that take no part.
    """
    merged = []
    for (rows, sizes), key, number in zip(tokens.frames(), torch.split(keys, [*tokens.counts]), merges, strict=True):
        if number:
            matching = match_tokens(key.transpose(0, 1)[None].float(), number, protected)
            rows, sizes = merge_tokens(rows, sizes, matching)
        merged.append((rows, sizes))
    return join(merged)


def first_rows(counts: Sequence[int], number: int) -> list[int]:
    """Rows of the first `number` tokens of each frame."""
    return [first + index for first in offsets_of(counts)[:-1] for index in range(number)]


def run_block(
    block: Block,
    tokens: RaggedTokens,
    proportional: bool,
    merges: Sequence[int],
    protected: int,
    head_tokens: int | None = None,
) -> RaggedTokens:
    """Run a block on all frames at once; each result is as `layers.Block.forward` gives for that frame.

    Args:
        proportional: whether the sizes count in attention; they need not while each is 1.
        merges: tokens that each frame loses.
        protected: leading tokens of a frame that never merge.
        head_tokens: only these leading tokens of each frame come out; then nothing merges. All if None.
    """
    attention, width = block.attn, tokens.rows.shape[1]
    qkv = attention.qkv(block.norm1(tokens.rows)).view(-1, 3, attention.heads, width // attention.heads)
    query, key, value = qkv.unbind(1)
    rows, sizes, queries = tokens.rows, tokens.sizes, tokens.counts
    if head_tokens is not None:
        kept = torch.tensor(first_rows(tokens.counts, head_tokens), device=rows.device)
        queries = (head_tokens,) * len(tokens.counts)
        query, rows, sizes = query[kept], rows[kept], sizes[kept]
    scaled = query * (width // attention.heads) ** -0.5
    attended = attend(scaled, key, value, queries, tokens.counts, tokens.sizes if proportional else None)
    done = RaggedTokens(rows + block.ls1(attention.proj(attended.flatten(1))), sizes, queries)
    if any(merges):
        done = merge(done, key, merges, protected)
    return RaggedTokens(done.rows + block.ls2(block.mlp(block.norm2(done.rows))), done.sizes, done.counts)
