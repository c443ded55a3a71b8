"""The shape of a model, and the plan of a frame, as plain numbers. Knows no tensor, no network and no policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from janus_vit.planning.payloads import LOCAL

MOST_TOKENS, MOST_BLOCKS = 65_535, 1_000  # of one model; a token's size is sent in 16 bits
_Count = TypeVar("_Count")  # a number or an array


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the planner knows about a model.

    Attributes:
        name: name of the model.
        blocks: number of transformer blocks (the paper's N).
        tokens: number of tokens that enter the first block, protected ones included (the paper's x_0).
        protected: number of leading tokens that never merge: class and register tokens.
        width: number of values in one token.
        input_shape: shape of one input, (3, height, width), or (3, frames, height, width) for clips.
        head_tokens: number of leading tokens that the head reads; the last block computes no others. None for all.
        reads_grid: whether a dense head reads the whole grid, so that the map from patches to tokens crosses the split.
        taps: after how many blocks a dense head also reads the tokens; those before the split cross too.
        rotary: whether the blocks read positions, so that the map from patches to tokens crosses before the last one.
        late_tokens: number of tokens that join after `late_block` blocks and never merge.
        late_block: number of blocks that run before the late tokens join.
    """

    name: str
    blocks: int
    tokens: int
    protected: int
    width: int
    input_shape: tuple[int, ...]
    head_tokens: int | None = None
    reads_grid: bool = False
    taps: tuple[int, ...] = ()
    rotary: bool = False
    late_tokens: int = 0
    late_block: int = 0

    @property
    def input_values(self) -> int:
        """Number of values in one input tensor."""
        return math.prod(self.input_shape)

    @property
    def splits(self) -> range:
        """Every split point. 0 sends the input, `blocks` sends what the head reads, `blocks + 1` sends nothing."""
        return range(self.blocks + 2)

    def merges_in(self, block: int) -> bool:
        """Whether merging in a block (from 0) saves time; in the last block, only if the head reads all tokens."""
        return block < self.blocks - 1 or self.head_tokens is None

    def tokens_at(self, split: int, left: _Count) -> _Count | int:
        """Number of the remaining tokens to send at a split point; after the last block, those that the head reads."""
        return left if split < self.blocks or self.head_tokens is None else self.head_tokens

    def joined(self, split: int) -> int:
        """Number of late tokens among those at a split point."""
        return self.late_tokens if split >= self.late_block else 0

    @property
    def joined_counts(self) -> tuple[int, ...]:
        """Number of late tokens among those at each split point, `blocks + 1` numbers."""
        return tuple(self.joined(split) for split in range(self.blocks + 1))

    @property
    def late_within(self) -> tuple[int, ...]:
        """Number of late tokens that each block computes, `blocks` numbers: those that join after it are not in it."""
        return self.joined_counts[:-1]

    def counts(self, merges: tuple[int, ...], split: int = 0, tokens: int | None = None) -> tuple[int, ...]:
        """Number of tokens at a split point and after each following block, late ones included.

        Args:
            merges: number of tokens merged in each of these blocks.
            split: where the counts begin.
            tokens: number of tokens there; None for those that enter the first block.
        """
        own = self.tokens if tokens is None else tokens - self.joined(split)
        left = tokens_after_blocks(own, merges)
        return tuple(count + self.joined(split + index) for index, count in enumerate(left))

    def taps_before(self, split: int) -> tuple[int, ...]:
        """Taps whose tokens cross a split beside those of its own block."""
        return tuple(tap for tap in self.taps if tap < split)

    @property
    def most_sent_tokens(self) -> int:
        """Number of tokens in the largest request, taps included."""
        return self.tokens * (1 + len(self.taps)) + self.late_tokens

    @property
    def most_places(self) -> int:
        """Number of patches whose token is sent in the largest request."""
        return (self.tokens - self.protected) * (1 + len(self.taps)) if self.reads_grid or self.rotary else 0

    def sends_places(self, split: int) -> bool:
        """Whether the map from patches to tokens crosses a split, once tokens have merged."""
        return self.reads_grid or (self.rotary and split < self.blocks)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one frame is run.

    Attributes:
        family: name of the schedule ("exponential", "linear", "fixed", "learned", "none").
        level: pruning level (the paper's alpha); 0 merges nothing.
        merges: number of tokens merged away in each block.
        split: number of blocks that run on the device (the paper's s). 0 sends the input, blocks + 1 sends nothing.
        payload: format of what crosses the network; `payloads.LOCAL` if nothing does.
        rescue: rescue schedule: number of tokens merged in each block after the split if the device has to finish the
            frame itself and `merges` would miss the deadline. None: the same as in `merges`.
    """

    family: str
    level: float
    merges: tuple[int, ...]
    split: int
    payload: str
    rescue: tuple[int, ...] | None = None

    @property
    def finishing(self) -> tuple[int, ...]:
        """Number of tokens merged in each block after the split if the device finishes the frame."""
        return self.merges[self.split :] if self.rescue is None else self.rescue

    @property
    def rescued(self) -> Plan:
        """The local plan with the merges that a frame has after a fallback."""
        merges = self.merges[: self.split] + self.finishing
        return Plan(self.family, self.level, merges, split=len(merges) + 1, payload=LOCAL)

    @property
    def sends(self) -> str:
        """What crosses the network: "nothing", "image" or "tokens"."""
        return "nothing" if self.is_local else "tokens" if self.split else "image"

    @property
    def exponential_level(self) -> float:
        """Level of an exponential plan; 0 for other families, whose levels are not comparable."""
        return self.level if self.family == "exponential" else 0.0

    @property
    def is_local(self) -> bool:
        """Whether the whole frame runs on the device."""
        return self.payload == LOCAL

    def __str__(self) -> str:
        where = "device only" if self.is_local else f"split {self.split}, {self.payload}"
        pruning = f"{self.level:.0f} merged a block" if self.family == "fixed" else f"level {self.level:.2f}"
        return f"{pruning}, {where}"


def tokens_after_blocks(tokens: int, merges: tuple[int, ...]) -> tuple[int, ...]:
    """Number of tokens before the first block and after each block: `len(merges) + 1` numbers."""
    return tuple(accumulate(merges, lambda left, merged: left - merged, initial=tokens))


def steps(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Number of tokens before and after the merge of each block, from those before each block and after the last.

    Tokens that join between two blocks are not in the earlier one. What that one merges then does not show.
    """
    return [(before, min(before, after)) for before, after in zip(counts[:-1], counts[1:], strict=True)]


def tokens_saved(merges: tuple[int, ...]) -> int:
    """Measure how much a schedule merges: tokens already merged away after each block, summed over the blocks."""
    return sum(accumulate(merges))
