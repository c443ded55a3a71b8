"""Large answers, made at most once between two updates: what many ask for at once costs as much as one."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable

_LEVEL = 5  # of gzip
_ANSWERS_OF_CALLER = 8  # between two updates; copying them takes time from the other threads of the process


class Answers:
    """Keeps what was answered since the last update, and counts who got it.

    Args:
        updates: gives the number of updates so far.
    """

    def __init__(self, updates: Callable[[], int]) -> None:
        self._updates = updates
        self._kept: dict[tuple[str, bool], bytes] = {}
        self._granted: Counter[str] = Counter()  # by caller
        self._update = -1

    def grant(self, caller: str) -> bool:
        """Whether a caller may have one more answer before the next update."""
        self._follow()
        if self._granted[caller] >= _ANSWERS_OF_CALLER:
            return False
        self._granted[caller] += 1
        return True

    def get(self, name: str, make: Callable[[], bytes], zipped: bool) -> bytes:
        """An answer.

        Args:
            name: its name; each has one way to make it.
            make: makes it.
            zipped: whether to compress it with gzip.
        """
        self._follow()
        key = name, zipped
        if key not in self._kept:
            self._kept[key] = gzip.compress(self.get(name, make, zipped=False), _LEVEL) if zipped else make()
        return self._kept[key]

    def _follow(self) -> None:
        if self._update != self._updates():
            self._update = self._updates()
            self._kept.clear()
            self._granted.clear()
