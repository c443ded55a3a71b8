"""Bounds a log whose lines strangers cause: what they send again and again must not fill a disk."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

_EVERY_S = 10.0


class Seldom(logging.Filter):
    """Lets each message through once in ten seconds, with the number of those that were left out before.

    For loggers with few different messages; arguments do not count.

    Args:
        now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._due_s: dict[str, float] = {}  # by message
        self._left_out: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; one that is may get a longer message."""
        message, now_s = str(record.msg), self._now()
        if now_s < self._due_s.get(message, now_s):
            self._left_out[message] += 1
            return False
        self._due_s[message] = now_s + _EVERY_S
        if left_out := self._left_out.pop(message, 0):
            record.msg = f"{message.rstrip()} ({left_out:,} more like this since the last line)"
        return True
