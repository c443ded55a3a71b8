"""How many rows each block of a ragged run works on, decided on the host before the run: no kernel is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
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


@dataclass(frozen=True)
class Layout:
    """The rows of a run.

    Attributes:
        counts: tokens of each frame before the first block and after each one, [blocks + 1, F]; empty frames included.
        blocks: one a block.
    """

    counts: NDArray[np.int64]
    blocks: tuple[BlockRows, ...]

    @property
    def frames(self) -> int:
        """Frames, empty ones included."""
        return int(self.counts.shape[1])

    def table(self) -> Tensor:
        """First rows of the frames and the end, before the first block and after each one: int32, a row each."""
        width = -(-(self.frames + 1) // _ALIGN) * _ALIGN
        rows = np.zeros((len(self.counts), width), np.int32)
        rows[:, 1 : self.frames + 1] = np.cumsum(self.counts, axis=1)
        return torch.from_numpy(rows)

    def steps(self, table: Tensor) -> list[Step]:
        """The blocks with their part of the table, wherever that lies."""
        offsets = [row[: self.frames + 1] for row in table]
        parts = zip(self.counts, self.counts[1:], offsets, offsets[1:], strict=False)
        return [Step(rows, *part) for rows, part in zip(self.blocks, parts, strict=True)]


@dataclass(frozen=True)
class Step:
    """One block of a run.

    Attributes:
        rows: how many.
        tokens_before: tokens of each frame that enters.
        tokens_after: tokens of each frame that leaves.
        before: [F + 1] first row of each frame that enters, and the end.
        after: [F + 1] first row of each frame that leaves, and the end.
    """

    rows: BlockRows
    tokens_before: NDArray[np.int64]
    tokens_after: NDArray[np.int64]
    before: Tensor
    after: Tensor

    @property
    def counts_before(self) -> Counts:
        """Tokens of each frame that enters."""
        return tuple(self.tokens_before.tolist())

    @property
    def counts_after(self) -> Counts:
        """Tokens of each frame that leaves."""
        return tuple(self.tokens_after.tolist())

    @property
    def first_queries(self) -> Tensor:
        """[F + 1] first row of each frame among the tokens that attend, and the end."""
        return self.before if self.rows.head_tokens is None else self.after

    @property
    def most_queries(self) -> int:
        """Tokens that attend in a frame, at most."""
        return self.rows.longest_before if self.rows.head_tokens is None else self.rows.longest_after

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
    empty = (1 << (len(counts) - 1).bit_length()) - len(counts) if rounded else 0
    blocks = stop - first
    planned = np.array(merges, np.int64).reshape(len(counts), -1)[:, :blocks]
    planned = np.pad(planned, ((0, empty), (0, 0)))
    tokens = np.empty((blocks + 1, len(planned)), np.int64)
    tokens[0] = (*counts, *(0,) * empty)
    tokens[1:] = tokens[0] - np.cumsum(planned, axis=1).T
    head_tokens = arch.head_tokens if stop == arch.depth else None
    if head_tokens is not None:
        tokens[-1] = head_tokens
    size = round_up if rounded else int
    sums, longest = ([size(int(each)) for each in part] for part in (tokens.sum(axis=1), tokens.max(axis=1)))
    rows = []
    for index, (before, after) in enumerate(zip(tokens, tokens[1:], strict=False)):
        reads_head = head_tokens if index == blocks - 1 else None
        each = int(before[0]) if masked and (before == before[0]).all() else None
        fewer = bool(((before > 0) & (before < arch.tokens)).any())
        merging = reads_head is None and bool((after < before).any())
        numbers = sums[index], sums[index + 1], longest[index], longest[index + 1]
        rows.append(BlockRows(*numbers, fewer or (masked and each is None), merging, reads_head, each))
    return Layout(tokens, tuple(rows))


def round_up(rows: int) -> int:
    """A few rows more, so that few numbers are ever met: by at most an eighth, and never by 128 or more."""
    step = min(max(1 << max(rows.bit_length() - 4, 0), 8), _TILE)
    return -(-rows // step) * step
