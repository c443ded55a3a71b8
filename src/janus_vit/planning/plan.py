"""What will happen to one frame, as plain numbers. Knows no tensor, no network and no policy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from janus_vit.planning.payloads import LOCAL

_Count = TypeVar("_Count")  # a number or an array of them


@dataclass(frozen=True, slots=True)
class ModelShape:
    """All that planning has to know about a model.

    Attributes:
        name: the name users know it by.
        blocks: number of transformer blocks (the paper's N).
        tokens: tokens that enter the first block, protected ones included (the paper's x_0).
        protected: leading tokens that never merge: class and register tokens.
        width: values in one token.
        input_shape: one input as the model sees it, (3, height, width).
        head_tokens: leading tokens that the head reads, so that the last block gives no others; None for all.
    """

    name: str
    blocks: int
    tokens: int
    protected: int
    width: int
    input_shape: tuple[int, ...]
    head_tokens: int | None = None

    @property
    def input_values(self) -> int:
        """Values in one input tensor."""
        return math.prod(self.input_shape)

    @property
    def splits(self) -> range:
        """Every split point: 0 sends the input, `blocks` what the head reads, `blocks + 1` sends nothing."""
        return range(self.blocks + 2)

    def merges_in(self, block: int) -> bool:
        """Whether merging in a zero-based block spares anything: in the last one only if the head reads all tokens."""
        return block < self.blocks - 1 or self.head_tokens is None

    def tokens_at(self, split: int, left: _Count) -> _Count | int:
        """Tokens at a split point where merging leaves so many: behind the last block there is what the head reads."""
        return left if split < self.blocks or self.head_tokens is None else self.head_tokens


@dataclass(frozen=True, slots=True)
class Plan:
    """How one frame is run.

    Attributes:
        family: the schedule's name ("exponential", "linear", "fixed", "none").
        level: the pruning level (the paper's alpha); 0 merges nothing.
        merges: tokens really merged away in each block, one number per block.
        split: blocks that run on the device (the paper's s). 0 sends the input itself, blocks + 1 sends nothing.
        payload: wire format of what crosses the network; `payloads.LOCAL` if nothing does.
        rescue: tokens merged in each block from the split on if the device has to finish the frame itself and time is
            short; None: as `merges` says. An outcome's plan has none if it did not have to hurry.
    """

    family: str
    level: float
    merges: tuple[int, ...]
    split: int
    payload: str
    rescue: tuple[int, ...] | None = None

    @property
    def finishing(self) -> tuple[int, ...]:
        """Tokens merged in each block from the split on if the device finishes the frame."""
        return self.merges[self.split :] if self.rescue is None else self.rescue

    @property
    def rescued(self) -> Plan:
        """The plan by which the frame ran if the device finished it."""
        return Plan(self.family, self.level, self.merges[: self.split] + self.finishing, len(self.merges) + 1, LOCAL)

    @property
    def sends(self) -> str:
        """What crosses the network: "nothing", an "image" or "tokens"."""
        return "nothing" if self.is_local else "tokens" if self.split else "image"

    @property
    def exponential_level(self) -> float:
        """The level of the paper's family, 0 in any other: levels of different families do not compare."""
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
    """Tokens before the first block and after each one: `len(merges) + 1` numbers."""
    return tuple(accumulate(merges, lambda left, merged: left - merged, initial=tokens))


def tokens_saved(merges: tuple[int, ...]) -> int:
    """How much a schedule merges: tokens that are gone after each block, added up over the blocks."""
    return sum(accumulate(merges))
