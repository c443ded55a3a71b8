"""The linear program of the bound: every frame takes one of its plans, and all of them share the engines' time.

The program has one constraint, so its dual has one variable: the price of an engine second. At a price, every frame
takes the plan with the largest value - price x engine seconds. The dual is convex and piecewise linear in the price.
The search goes to where the lines at both ends of an interval meet, and ends at the corner that is the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_vit.planning.latency import Floats

_NEARLY = 1e-12  # rounding of mean values


@dataclass(frozen=True)
class Choices:
    """Frames that choose from the same plans. The last plan is possible for all of them and needs no engine.

    Attributes:
        value: what each plan is worth, [plans].
        engine_s: engine seconds of each plan, [plans].
        blocks: blocks that each plan runs in the cloud, [plans].
        tokens: effective tokens of these blocks, added up, [plans].
        possible: the sets of possible plans, [sets, plans].
        frames: number of frames that have each set, [sets].
    """

    value: Floats
    engine_s: Floats
    blocks: Floats
    tokens: Floats
    possible: NDArray[np.bool_]
    frames: Floats

    def at(self, price: float) -> NDArray[np.int64]:
        """Return each set's best plan at a price, the one with the fewest engine seconds among equals, [sets]."""
        if np.isinf(price):
            order = np.lexsort((-self.value, self.engine_s))
        else:
            order = np.lexsort((self.engine_s, price * self.engine_s - self.value))
        return np.asarray(order[self.possible[:, order].argmax(axis=1)])


@dataclass(frozen=True, slots=True)
class Solution:
    """The optimum. All numbers but the price are means over frames.

    Attributes:
        price: value that one more engine second would give.
        value: the largest value.
        engine_s: engine seconds that it takes.
        unlimited: value with engines that take no time from each other.
        alone: value of the last plans.
        block_tokens: effective tokens of a block in the cloud, the mean over blocks; 0 without any.
        deviation: standard deviation, over frames, of value - price x engine seconds.
    """

    price: float
    value: float
    engine_s: float
    unlimited: float
    alone: float
    block_tokens: float
    deviation: float


@dataclass(frozen=True, slots=True)
class _Total:
    """What the frames reach at one price, as means over frames."""

    value: float
    engine_s: float
    blocks: float
    tokens: float

    def net(self, price: float) -> float:
        return self.value - price * self.engine_s


def solve(groups: Sequence[Choices], limit_s: float) -> Solution:
    """Maximise the mean value.

    Args:
        groups: all frames.
        limit_s: engine seconds that a frame may take on average.
    """
    low, high, price = _total(groups, 0.0), _total(groups, np.inf), 0.0
    unlimited, share = low.value, 1.0  # share of the optimum that is `low`
    if low.engine_s > limit_s:
        low, high, price = _search(groups, low, high, limit_s)
        share = (limit_s - high.engine_s) / (low.engine_s - high.engine_s)

    def mixed(name: str) -> float:
        return float(share * getattr(low, name) + (1 - share) * getattr(high, name))

    blocks = mixed("blocks")
    count = sum(float(group.frames.sum()) for group in groups)
    return Solution(
        price=price,
        value=mixed("value"),
        engine_s=mixed("engine_s"),
        unlimited=unlimited,
        alone=sum(float(group.frames.sum() * group.value[-1]) for group in groups) / count,
        block_tokens=mixed("tokens") / blocks if blocks else 0.0,
        deviation=_deviation(groups, price),
    )


def _search(groups: Sequence[Choices], low: _Total, high: _Total, limit_s: float) -> tuple[_Total, _Total, float]:
    """Find the price at which the limit is just reached.

    Args:
        groups: all frames.
        low: totals at a price that is too low.
        high: totals at a price that is not.
        limit_s: engine seconds that a frame may take on average.

    Returns:
        The totals on both sides of the price, and the price.
    """
    while True:
        price = (low.value - high.value) / (low.engine_s - high.engine_s)
        middle = _total(groups, price)
        if middle.net(price) <= low.net(price) + _NEARLY:
            return low, high, price
        if middle.engine_s > limit_s:
            low = middle
        else:
            high = middle


def _total(groups: Sequence[Choices], price: float) -> _Total:
    sums, count = np.zeros(4), 0.0
    for group in groups:
        plan = group.at(price)
        parts = group.value, group.engine_s, group.blocks, group.tokens
        sums += [group.frames @ part[plan] for part in parts]
        count += float(group.frames.sum())
    return _Total(*map(float, sums / count))


def _deviation(groups: Sequence[Choices], price: float) -> float:
    net = np.concatenate([(group.value - price * group.engine_s)[group.at(price)] for group in groups])
    weights = np.concatenate([group.frames for group in groups])
    mean = np.average(net, weights=weights)
    return float(np.sqrt(np.average((net - mean) ** 2, weights=weights)))
