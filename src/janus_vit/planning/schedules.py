"""Token pruner: how many tokens each block merges at a pruning level. Knows no tensor and no model.

Blocks count from 1 to N as in the paper; `merges[l - 1]` belongs to block l.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from janus_vit.errors import InputError
from janus_vit.planning.plan import ModelShape, tokens_after_blocks

_BEYOND = 60.0  # more merges than any model has tokens, as an exponent of 2
_ROUNDING = 1e-9  # 2 ** (0.3 * 10) must not become 7.999... before the floor


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a level asks of every block, and what the blocks can give.

    Attributes:
        family: name of the rule ("exponential", "linear", "fixed", "none").
        level: the pruning level.
        wanted: tokens that the rule merges in each block.
        applied: tokens that are really merged: at most half of a block's mergeable tokens.
        tokens: tokens before the first block and after each one, `blocks + 1` numbers.
    """

    family: str
    level: float
    wanted: tuple[int, ...]
    applied: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def clipped(self) -> tuple[int, ...]:
        """Merges that the rule asked for and no block could give, one number a block."""
        return tuple(wanted - applied for wanted, applied in zip(self.wanted, self.applied, strict=True))


def exponential(level: float, blocks: int) -> tuple[int, ...]:
    """floor(2 ** (level * (N - l))) for block l, nothing at level 0 (paper Eq. 1)."""
    if level == 0:
        return (0,) * blocks
    exponents = (min(level * (blocks - block), _BEYOND) for block in range(1, blocks + 1))
    return tuple(math.floor(2**exponent + _ROUNDING) for exponent in exponents)


def linear(level: float, blocks: int) -> tuple[int, ...]:
    """floor(level * (N - l)) for block l (the paper's compared schedule)."""
    return tuple(math.floor(level * (blocks - block) + _ROUNDING) for block in range(1, blocks + 1))


def fixed(level: float, blocks: int) -> tuple[int, ...]:
    """The same number of tokens in every block (Bolya et al., ICLR 2023)."""
    return (math.floor(level + _ROUNDING),) * blocks


def none(level: float, blocks: int) -> tuple[int, ...]:
    """No merging at any level."""
    return (0,) * blocks


@dataclass(frozen=True, slots=True)
class _Family:
    rule: Callable[[float, int], tuple[int, ...]]
    step: float  # distance between levels; the paper's t = 0.01 for the exponential family


FAMILIES: dict[str, _Family] = {
    "exponential": _Family(exponential, 0.01),
    "linear": _Family(linear, 0.1),
    "fixed": _Family(fixed, 1.0),
    "none": _Family(none, math.inf),
}


def largest_level(family: str, shape: ModelShape, step: float | None = None) -> float:
    """The largest level whose merges, shifted by one block as Eq. 2 prints it, fit in x_0 - 1 tokens."""
    rule = _family(family)
    step = rule.step if step is None else step
    steps = 0
    # Eq. 2 has N - (l - 1) where Eq. 1 has N - l: that is the same rule on N + 1 blocks, without its last.
    while family != "none" and (
        sum(rule.rule(round((steps + 1) * step, 9), shape.blocks + 1)[:-1]) <= shape.tokens - 1
    ):
        steps += 1
    return round(steps * step, 9) if steps else 0.0


@lru_cache(maxsize=64)
def levels(family: str, shape: ModelShape, step: float | None = None) -> tuple[float, ...]:
    """All pruning levels from 0 to the bound, ascending."""
    rule = _family(family)
    step = rule.step if step is None else step
    top = largest_level(family, shape, step)
    return tuple(round(i * step, 9) for i in range(round(top / step) + 1)) if top else (0.0,)


def make_schedule(family: str, level: float, shape: ModelShape) -> Schedule:
    """The schedule of one level on one model, clipped to what merging can remove.

    Raises:
        InputError: the family is unknown or the level is negative or not finite.
    """
    if not (math.isfinite(level) and level >= 0):
        raise InputError(f"pruning level {level} cannot be used: give a number from 0 upwards")
    wanted = _family(family).rule(level, shape.blocks)
    return clip(family, level, wanted, shape)


def clip(family: str, level: float, wanted: tuple[int, ...], shape: ModelShape) -> Schedule:
    """Limit each block's merges to half of its mergeable tokens, rounded down.

    Where merging spares nothing (`ModelShape.merges_in`), nothing merges.
    """
    applied: list[int] = []
    left = shape.tokens
    for block, merges in enumerate(wanted):
        applied.append(min(merges, (left - shape.protected) // 2) if shape.merges_in(block) else 0)
        left -= applied[-1]
    return Schedule(family, level, wanted, tuple(applied), tokens_after_blocks(shape.tokens, tuple(applied)))


def _family(name: str) -> _Family:
    if name not in FAMILIES:
        raise InputError(f"schedule {name!r} is unknown: use one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
