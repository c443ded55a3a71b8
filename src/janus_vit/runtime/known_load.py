"""What a device knows about the load of its cloud: the last report, and how much it still counts."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace

from janus_vit.planning.price import LARGEST_PRICE, LEAST_PRICE, EnginePrice
from janus_vit.wire.fields import LONGEST_WAIT_S

_LONGEST_QUEUE_S = 10.0  # limit of a reported queueing delay: one absurd reply must not end offloading
_BELIEVED_S = 2.0  # a wait without news: devices that use or probe the link hear of it twice a second
_FRESH_S = 1.0  # a device that uses or probes the link hears from its cloud twice in this time
_HALF_LIFE_S = 3.0  # of a price without news: a cloud that is silent may have recovered
_WRONG_BY_S = 0.5  # an urgent frame may overtake some of the frames that the cloud counted
_DOUBTED_S = 60.0  # how long waits do not count after a wrong one, unless the cloud refuses a frame
_LARGEST_FACTOR = 2.0  # with 1.25, two dozen devices that lose nearly nothing by leaving still move together


class KnownLoad:
    """Remembers the last report of a cloud.

    The device multiplies prices by a constant factor of its own, so that equal devices that hear of the same price do
    not all leave the cloud, and later all return, at the same moment.

    Args:
        name: name of the device, from which its factor follows.
        note: called with one sentence about each report that cannot be right.
    """

    def __init__(self, name: str, note: Callable[[str], None] = lambda sentence: None) -> None:
        self._note = note
        self._factor = price_factor(name)
        self._price = EnginePrice()
        self._priced_s = -math.inf
        self._told_s = -math.inf
        self._free_s = -math.inf  # when the cloud's queue will be empty
        self._doubted_until_s = -math.inf

    def learn(self, wait_s: float, price: EnginePrice | None, told_s: float, refused: bool = False) -> None:
        """Take in a report.

        Args:
            wait_s: queueing delay that the cloud reported; it counts down as time passes.
            price: price that the cloud reported; None keeps the last one.
            told_s: when it reported, on the device's clock. Reports that are older than the last one are ignored.
            refused: whether the cloud refused a frame with it, which makes its waits count again.
        """
        if told_s < self._told_s:
            return
        if refused:
            self._doubted_until_s = -math.inf
        if wait_s > LONGEST_WAIT_S:
            self._note(f"load: expected wait of {wait_s:.3g} s, but no request waits longer than {LONGEST_WAIT_S:g} s")
        self._free_s, self._told_s = told_s + min(wait_s, _LONGEST_QUEUE_S), told_s
        if price is not None:
            if price.answers_per_s > LARGEST_PRICE:
                self._note(f"load: price of {price.answers_per_s:.3g}, but none is above {LARGEST_PRICE:g}")
            own = min(price.answers_per_s * self._factor, LARGEST_PRICE)
            self._price, self._priced_s = replace(price, answers_per_s=own) if own else price, told_s

    def ignore(self, sentences: Iterable[str]) -> None:
        """Note what cannot be right in a report that could not be read."""
        for sentence in sentences:
            self._note(f"load: {sentence}")

    def compare(self, sent_s: float, ended_s: float) -> None:
        """Compare the reported wait with an answer; after one that came much sooner, waits do not count for a while.

        Args:
            sent_s: when the frame was sent, on the device's clock.
            ended_s: when its answer came.
        """
        early_s = self._free_s - ended_s
        if sent_s >= self._told_s and early_s > _WRONG_BY_S:
            self._doubted_until_s = ended_s + _DOUBTED_S
            self._note(f"load: an answer came {early_s:.3g} s before the end of the wait that the cloud had reported")

    def queue_s(self, now_s: float) -> float:
        """Queueing delay that is left of the one that the cloud reported; 0 without news, or if its waits are wrong."""
        counts = self._doubted_until_s <= now_s <= self._told_s + _BELIEVED_S
        return max(0.0, self._free_s - now_s) if counts else 0.0

    def price(self, now_s: float) -> EnginePrice:
        """Price for this device; what an engine second is worth is forgotten with time."""
        silent_s = now_s - self._priced_s - _FRESH_S
        if silent_s <= 0 or self._price.answers_per_s == 0:
            return self._price
        left = self._price.answers_per_s * 0.5 ** (silent_s / _HALF_LIFE_S)
        return replace(self._price, answers_per_s=left if left >= LEAST_PRICE else 0.0)


def price_factor(name: str) -> float:
    """Factor on prices for a device of this name: spread evenly in the logarithm, the same in every run."""
    place = zlib.crc32(name.encode()) / 0xFFFFFFFF
    return float(_LARGEST_FACTOR ** (2 * place - 1))
