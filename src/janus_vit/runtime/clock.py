"""Time as an argument: the live loop reads a wall clock, a simulation brings its own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds since some start; never goes back."""

    def now(self) -> float:
        """Current time in seconds."""


class WallClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Current time in seconds."""
        return time.perf_counter()
