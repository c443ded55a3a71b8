"""What blocks on packed weights can do in several ways; which is fastest depends on the processor, so it is tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

# Queries that are scaled already [B, heads, Q, head_width], keys and values [B, heads, T, head_width], sizes [B, T] or
# none, to [B, Q, C].
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

_ROUNDS = 4  # the first of which warms up
_CLEARLY = 0.95  # of the first way's time: what another must be below, so that chance seldom decides
_FOUND: dict[Hashable, Way] = {}


@dataclass(frozen=True)
class Way:
    """How a block computes.

    Attributes:
        attend: attention. align: whether unmerged tokens are padded to a number that oneDNN may divide better.
        few_shapes: whether merged tokens are padded to one of a few numbers, since oneDNN keeps something for each.
    """

    attend: Attend
    align: bool = False
    few_shapes: bool = False


def fastest_way(key: Hashable, ways: Sequence[Way], run: Callable[[Way], object]) -> Way:
    """The way in which `run` takes least time: the first, unless another is clearly faster.

    Args:
        key: what the answer depends on; it is found once for each in a process, so that all its engines agree.
    """
    if len(ways) == 1:
        return ways[0]
    if key not in _FOUND:
        least_s = dict.fromkeys(ways, float("inf"))
        for _ in range(_ROUNDS):  # in turn, so that other load falls on all
            for way in ways:
                began_s = time.perf_counter()
                run(way)
                least_s[way] = min(least_s[way], time.perf_counter() - began_s)
        best = min(ways, key=least_s.__getitem__)
        _FOUND[key] = best if least_s[best] < _CLEARLY * least_s[ways[0]] else ways[0]
    return _FOUND[key]
