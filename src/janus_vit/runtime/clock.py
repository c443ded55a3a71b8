"""Clocks as arguments: the live loop reads the wall clock, the simulator a virtual one."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

CLOSEST_S = 1e-9  # two times that differ by less are equal


class Clock(Protocol):
    """Seconds since an arbitrary start; never goes back."""

    def now(self) -> float:
        """Current time in seconds."""


class WallClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Current time in seconds."""
        return time.perf_counter()


class Stopwatch:
    """Measure how long a `with` block takes.

    Args:
        clock: clock to read.

    Attributes:
        seconds: length of the block, 0 until it has ended.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = 0.0
        self.seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._began_s = self._clock.now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = self._clock.now() - self._began_s
