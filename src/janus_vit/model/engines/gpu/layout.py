"""How many rows each block of a ragged run works on, decided on the host before the run: no kernel is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from janus_vit.model.vit import Architecture

Counts = tuple[int, ...]  # tokens of each frame
_ALIGN = 4  # int32 values: rows of the table begin at multiples of 16 bytes, so that Triton compiles one variant
_TILE = 128  # rows that a matrix product computes together: rounding up to it costs nothing


@dataclass(frozen=True, slots=True)
class BlockRows:
    """Rows of all frames in one block: all that the kernels of a block are launched with.

    Attributes:
        before: rows that enter the block.
        after: rows that leave it.
        longest_before: tokens of the longest frame that enters, or more.
        longest_after: tokens of the longest frame that leaves, or more.
        proportional: whether sizes count in attention.
        merging: whether some frame merges tokens.
        head_tokens: leading tokens of each frame that leave; None for all that do not merge.
        each: tokens of every frame, where attention pads frames and all have the same number; else None.
    """

    before: int
    after: int
    longest_before: int
    longest_after: int
    proportional: bool
    merging: bool
    head_tokens: int | None
    each: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """The rows of a run.

    Attributes:
        counts: tokens of each frame before the first block and after each one.
        blocks: one a block.
    """

    counts: tuple[Counts, ...]
    blocks: tuple[BlockRows, ...]

    @property
    def frames(self) -> int:
        """Frames, empty ones included."""
        return len(self.counts[0])

    def table(self) -> Tensor:
        """First rows of the frames and the end, before the first block and after each one: int32, a row each."""
        missing = -(self.frames + 1) % _ALIGN
        rows = [[*accumulate(counts, initial=0), *[0] * missing] for counts in self.counts]
        return torch.tensor(rows, dtype=torch.int32)

    def steps(self, table: Tensor) -> list[Step]:
        """The blocks with their part of the table, wherever that lies."""
        offsets = [row[: self.frames + 1] for row in table]
        pairs = zip(self.counts, self.counts[1:], offsets, offsets[1:], strict=False)
        return [Step(rows, *pair) for rows, pair in zip(self.blocks, pairs, strict=True)]


@dataclass(frozen=True)
class Step:
    """One block of a run.

    Attributes:
        rows: how many.
        counts_before: tokens of each frame that enters.
        counts_after: tokens of each frame that leaves.
        before: [F + 1] first row of each frame that enters, and the end.
        after: [F + 1] first row of each frame that leaves, and the end.
    """

    rows: BlockRows
    counts_before: Counts
    counts_after: Counts
    before: Tensor
    after: Tensor

    @property
    def queries(self) -> tuple[Counts, Tensor, int]:
        """Of the tokens that attend: how many each frame has, their first rows, and the most of a frame."""
        if self.rows.head_tokens is None:
            return self.counts_before, self.before, self.rows.longest_before
        return self.counts_after, self.after, self.rows.longest_after

    def head_rows(self) -> Tensor:
        """Rows, as they enter, of the leading tokens that leave: [F * head_tokens]."""
        leading = torch.arange(self.rows.head_tokens or 0, device=self.before.device)
        rows = (self.before[:-1, None] + leading).flatten()
        return rows.clamp_max(self.rows.before - 1)  # frames without tokens begin behind the last row


def make_layout(
    arch: Architecture, counts: Counts, merges: Sequence[Counts], first: int, stop: int, rounded: bool, masked: bool
) -> Layout:
    """Follow the tokens of each frame through blocks [first, stop).

    Args:
        counts: tokens of each frame before block `first`.
        merges: of each frame, tokens to merge in each block from `first` on.
        rounded: round everything up, so that runs of similar size share one CUDA graph. The frames that are added have
            no tokens.
        masked: whether attention needs sizes as soon as frames differ, since it pads them.
    """
    if rounded:
        missing = (1 << (len(counts) - 1).bit_length()) - len(counts)
        counts, merges = counts + (0,) * missing, [*merges, *[(0,) * (stop - first)] * missing]
    size = round_up if rounded else int
    all_counts, blocks = [counts], []
    for index in range(first, stop):
        head_tokens = arch.head_tokens if index == arch.depth - 1 else None
        if head_tokens is not None:
            after: Counts = (head_tokens,) * len(counts)
        else:
            after = tuple(count - plan[index - first] for count, plan in zip(counts, merges, strict=True))
        each = counts[0] if masked and len(set(counts)) == 1 else None
        proportional = any(0 < count < arch.tokens for count in counts) or (masked and each is None)
        merging = head_tokens is None and after != counts
        sizes = size(sum(counts)), size(sum(after)), size(max(counts)), size(max(after))
        blocks.append(BlockRows(*sizes, proportional, merging, head_tokens, each))
        all_counts.append(after)
        counts = after
    return Layout(tuple(all_counts), tuple(blocks))


def round_up(rows: int) -> int:
    """A few rows more, so that few numbers are ever met: by at most an eighth, and never by 128 or more."""
    step = min(max(1 << max(rows.bit_length() - 4, 0), 8), _TILE)
    return -(-rows // step) * step
