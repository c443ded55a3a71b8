"""Model splitter: candidate split points, dense where the number of tokens falls fast (paper Eq. 3)."""

from __future__ import annotations

from itertools import count

from janus_vit.errors import InputError


def candidate_splits(blocks: int, k: int = 5) -> tuple[int, ...]:
    """Return 0, then 1 and further points in steps of ceil(i / k) up to N, then N + 1 (paper Eq. 3, with k = 5).

    Args:
        blocks: number of blocks N, at least 1.
        k: number of candidates with the same step width; a larger k gives more candidates.

    Raises:
        InputError: `blocks` or `k` is less than 1.
    """
    if blocks < 1 or k < 1:
        raise InputError(f"candidate splits need at least 1 block and k >= 1, got {blocks} blocks and k = {k}")
    inner = [1]
    for i in count(2):
        following = inner[-1] + -(-i // k)
        if following > blocks:
            return (0, *inner, blocks + 1)
        inner.append(following)
    raise AssertionError("unreachable: count() never ends")


def all_splits(blocks: int) -> tuple[int, ...]:
    """Return every split point from 0 to N + 1."""
    return tuple(range(blocks + 2))
