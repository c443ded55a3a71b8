"""How many devices a cloud carries: the largest fleet of which nearly all frames are answered in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Carried:
    """The largest fleet inside a target, and the smallest one that was tried outside of it.

    Attributes:
        devices: of the largest fleet inside; 0 if one device is too many.
        too_many: of the smallest fleet outside; None if even the largest one that was tried is inside.
    """

    devices: int
    too_many: int | None


def devices_carried(
    in_time: Callable[[int], float], target: float, most: int, first: int = 1, precision: float = 0.05
) -> Carried:
    """Search the number of devices by doubling, then by halving the interval.

    Args:
        in_time: share of the frames in time with so many devices; assumed to fall with their number.
        target: share that is needed.
        most: largest number to try.
        first: number to begin with.
        precision: of the result, relative to it.
    """
    inside, outside, tried = 0, None, min(first, most)
    while outside is None:
        if in_time(tried) >= target:
            inside = tried
            if tried == most:
                return Carried(inside, None)
            tried = min(2 * tried, most)
        else:
            outside = tried
    while outside - inside > max(1, precision * inside):
        middle = (inside + outside) // 2
        if in_time(middle) >= target:
            inside = middle
        else:
            outside = middle
    return Carried(inside, outside)
