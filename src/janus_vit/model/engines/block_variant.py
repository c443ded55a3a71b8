"""Variants of a block on packed weights. The fastest one depends on the CPU, so it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

# Queries, already scaled [B, heads, Q, head_width]; keys and values [B, heads, T, head_width]; sizes [B, T] or None;
# returns [B, Q, C].
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

_ROUNDS = 4  # the first one is slow; the shortest time counts
_LEAST_S, _MOST_S = 0.03, 2.0  # time for all rounds: fast blocks run more rounds than slow ones
_CLEARLY = 0.95  # a later variant must take less than this share of an earlier one's time, so that noise rarely decides
_FASTEST: dict[Hashable, BlockVariant] = {}


@dataclass(frozen=True)
class BlockVariant:
    """How a block computes.

    Attributes:
        attend: the attention function.
        align: whether unmerged tokens are padded to a number that may suit oneDNN better.
        few_shapes: whether merged tokens are padded to one of a few numbers, because oneDNN caches memory for each
            number. It saves memory, not time, so it is the same in all variants of an engine.
    """

    attend: Attend
    align: bool = False
    few_shapes: bool = False


def fastest_variant(
    key: Hashable, variants: Sequence[BlockVariant], run: Callable[[BlockVariant], object]
) -> BlockVariant:
    """Return the first variant that no other variant clearly beats.

    Args:
        key: everything that the times depend on. Each key is measured once in a process, so that all its engines agree.
        variants: the variants, in order of preference.
        run: runs one variant once.
    """
    if len(variants) == 1:
        return variants[0]
    key = (key, *variants)
    if key not in _FASTEST:
        least_s = _least_seconds(variants, run)
        limit_s = min(least_s.values()) / _CLEARLY
        _FASTEST.setdefault(key, next(variant for variant in variants if least_s[variant] <= limit_s))
    return _FASTEST[key]


def _least_seconds(
    variants: Sequence[BlockVariant], run: Callable[[BlockVariant], object]
) -> dict[BlockVariant, float]:
    """Return the shortest of several runs of each variant. They take turns, so that other load affects all alike."""
    least_s = dict.fromkeys(variants, float("inf"))
    rounds, spent_s = 0, 0.0
    while spent_s < _LEAST_S or (rounds < _ROUNDS and spent_s < _MOST_S):
        for variant in variants:
            began_s = time.perf_counter()
            run(variant)
            elapsed_s = time.perf_counter() - began_s
            least_s[variant] = min(least_s[variant], elapsed_s)
            spent_s += elapsed_s
        rounds += 1
    return least_s
