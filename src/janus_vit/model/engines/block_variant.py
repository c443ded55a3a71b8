"""What blocks on packed weights can do in several ways; which is fastest depends on the processor, so it is tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

# Queries that are scaled already [B, heads, Q, head_width], keys and values [B, heads, T, head_width], sizes [B, T] or
# none, to [B, Q, C].
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

_ROUNDS = 4  # of which the first is slow, and the least time counts
_LEAST_S, _MOST_S = 0.03, 2.0  # of all rounds: more where a block takes little, fewer where it takes long
_CLEARLY = 0.95  # of a way's time: what another must be below to be taken before it, so that chance seldom decides
_FOUND: dict[Hashable, BlockVariant] = {}


@dataclass(frozen=True)
class BlockVariant:
    """How a block computes.

    Attributes:
        attend: attention. align: whether unmerged tokens are padded to a number that oneDNN may divide better.
        few_shapes: whether merged tokens are padded to one of a few numbers, since oneDNN keeps something for each. Not
            for speed, so that it is the same in all ways of an engine.
    """

    attend: Attend
    align: bool = False
    few_shapes: bool = False


def fastest_variant(key: Hashable, ways: Sequence[BlockVariant], run: Callable[[BlockVariant], object]) -> BlockVariant:
    """The first way that no other is clearly faster than.

    Args:
        key: what their times depend on. It is found once for each in a process, so that all its engines agree.
        run: one run in that way.
    """
    if len(ways) == 1:
        return ways[0]
    key = (key, *ways)
    if key not in _FOUND:
        least_s = _least_seconds(ways, run)
        limit_s = min(least_s.values()) / _CLEARLY
        _FOUND.setdefault(key, next(way for way in ways if least_s[way] <= limit_s))
    return _FOUND[key]


def _least_seconds(ways: Sequence[BlockVariant], run: Callable[[BlockVariant], object]) -> dict[BlockVariant, float]:
    """Of several runs in each way, in turn, so that other load falls on all."""
    least_s = dict.fromkeys(ways, float("inf"))
    rounds, spent_s = 0, 0.0
    while spent_s < _LEAST_S or (rounds < _ROUNDS and spent_s < _MOST_S):
        for way in ways:
            began_s = time.perf_counter()
            run(way)
            elapsed_s = time.perf_counter() - began_s
            least_s[way] = min(least_s[way], elapsed_s)
            spent_s += elapsed_s
        rounds += 1
    return least_s
