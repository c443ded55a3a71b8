"""Token pruner: how many tokens each block merges at a pruning level. Knows no tensor and no model.

Blocks are numbered from 1 to N as in the paper; `merges[l - 1]` belongs to block l.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from janus_vit.errors import InputError
from janus_vit.planning.plan import ModelShape, tokens_after_blocks

_LARGEST_EXPONENT = 60.0  # 2 to this power is more than any model has tokens
_ROUNDING = 1e-9  # so that 2 ** (0.3 * 10) = 7.999... is rounded to 8


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many tokens each block merges at one level.

    Attributes:
        family: name of the rule ("exponential", "linear", "fixed", "none", "learned").
        level: pruning level.
        wanted: number of tokens that the rule merges in each block.
        applied: number of tokens that each block merges: at most half of its mergeable tokens.
        tokens: number of tokens before the first block and after each block, `blocks + 1` numbers, without late ones
            (`ModelShape.late_tokens`).
    """

    family: str
    level: float
    wanted: tuple[int, ...]
    applied: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def clipped(self) -> tuple[int, ...]:
        """Number of tokens in each block that the rule wants to merge but the block cannot."""
        return tuple(wanted - applied for wanted, applied in zip(self.wanted, self.applied, strict=True))


def exponential(level: float, blocks: int) -> tuple[int, ...]:
    """Merge floor(2 ** (level * (N - l))) tokens in block l, none at level 0 (paper Eq. 1)."""
    if level == 0:
        return (0,) * blocks
    exponents = (min(level * (blocks - block), _LARGEST_EXPONENT) for block in range(1, blocks + 1))
    return tuple(math.floor(2**exponent + _ROUNDING) for exponent in exponents)


def linear(level: float, blocks: int) -> tuple[int, ...]:
    """Merge floor(level * (N - l)) tokens in block l (the schedule that the paper compares with)."""
    return tuple(math.floor(level * (blocks - block) + _ROUNDING) for block in range(1, blocks + 1))


def fixed(level: float, blocks: int) -> tuple[int, ...]:
    """Merge the same number of tokens in every block (Bolya et al., ICLR 2023)."""
    return (math.floor(level + _ROUNDING),) * blocks


def none(level: float, blocks: int) -> tuple[int, ...]:
    """Merge nothing at any level."""
    return (0,) * blocks


@dataclass(frozen=True, slots=True)
class _Family:
    """A rule and its levels.

    Attributes:
        rule: number of tokens merged in each block, from the level and the number of blocks.
        step: distance between two levels; the paper's t = 0.01 for the exponential family.
    """

    rule: Callable[[float, int], tuple[int, ...]]
    step: float


FAMILIES: dict[str, _Family] = {
    "exponential": _Family(exponential, 0.01),
    "linear": _Family(linear, 0.1),
    "fixed": _Family(fixed, 1.0),
    "none": _Family(none, math.inf),
}


def largest_level(family: str, shape: ModelShape, step: float | None = None) -> float:
    """Return the largest level whose merges, shifted by one block as in paper Eq. 2, fit in x_0 - 1 tokens.

    Args:
        family: name of the rule.
        shape: shape of the model.
        step: distance between two levels; default: the family's.

    Raises:
        InputError: the family is unknown.
    """
    rule = _family(family)
    step = rule.step if step is None else step
    steps = 0
    # Eq. 2 has N - (l - 1) where Eq. 1 has N - l: the same rule on N + 1 blocks, without the last block.
    while family != "none" and (
        sum(rule.rule(round((steps + 1) * step, 9), shape.blocks + 1)[:-1]) <= shape.tokens - 1
    ):
        steps += 1
    return round(steps * step, 9) if steps else 0.0


@lru_cache(maxsize=64)
def levels(family: str, shape: ModelShape, step: float | None = None) -> tuple[float, ...]:
    """Return all pruning levels from 0 to `largest_level`, ascending. Takes the same arguments."""
    rule = _family(family)
    step = rule.step if step is None else step
    top = largest_level(family, shape, step)
    return tuple(round(i * step, 9) for i in range(round(top / step) + 1)) if top else (0.0,)


def make_schedule(family: str, level: float, shape: ModelShape) -> Schedule:
    """Make the schedule of one level for one model.

    Raises:
        InputError: the family is unknown or the level is negative or not finite.
    """
    if not (math.isfinite(level) and level >= 0):
        raise InputError(f"pruning level {level} cannot be used: give a number from 0 upwards")
    wanted = _family(family).rule(level, shape.blocks)
    return clip(family, level, wanted, shape)


def clip(family: str, level: float, wanted: tuple[int, ...], shape: ModelShape) -> Schedule:
    """Limit the merges of each block to half of its mergeable tokens, rounded down.

    Blocks in which merging saves nothing (`ModelShape.merges_in`) merge nothing.
    """
    applied: list[int] = []
    left = shape.tokens
    for block, merges in enumerate(wanted):
        applied.append(min(merges, (left - shape.protected) // 2) if shape.merges_in(block) else 0)
        left -= applied[-1]
    tokens = tokens_after_blocks(shape.tokens, tuple(applied))
    return Schedule(family, level, wanted, applied=tuple(applied), tokens=tokens)


def _family(name: str) -> _Family:
    if name not in FAMILIES:
        raise InputError(f"schedule {name!r} is unknown: use one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
