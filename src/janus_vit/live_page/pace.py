"""How often one address may ask: whoever asks faster waits, so that a flood costs the process little."""

from __future__ import annotations

import time
from collections.abc import Callable

_PER_S = 50.0  # connections and answers of one address; a browser that opens the page needs seven
_AT_ONCE = 100.0  # saved up by one that was quiet
_ADDRESSES = 4_096


class Pace:
    """Counts connections and answers by address.

    Args:
        now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._rested_s: dict[str, float] = {}  # when each address may ask as much at once as a new one

    def count(self, address: str) -> float:
        """Count a connection or an answer.

        Args:
            address: of the browser.

        Returns:
            How long it waits for its next request, in seconds.
        """
        now_s = self._now()
        if len(self._rested_s) >= _ADDRESSES:
            self._rested_s = {each: rested_s for each, rested_s in self._rested_s.items() if rested_s > now_s}
        self._rested_s[address] = max(now_s, self._rested_s.get(address, now_s)) + 1 / _PER_S
        return max(0.0, self._rested_s[address] - now_s - _AT_ONCE / _PER_S)
