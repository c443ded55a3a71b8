"""A clock for simulations. Implements `runtime.clock.Clock`."""

from __future__ import annotations


class VirtualClock:
    """A clock that moves only by `advance`.

    Args:
        now_s: time at the start.
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now(self) -> float:
        """Return the current time in seconds."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._now_s += seconds
