"""Virtual time for many streams at once: each runs as a greenlet and waits for its next event.

A stream keeps its own clock and runs ahead of the others as long as it touches nothing that they share. It waits for
its turn only when it meets the cloud. So the live device loop runs unchanged, with a few switches for each frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any, Generic, TypeVar

from greenlet import getcurrent, greenlet

Value = TypeVar("Value")


class World:
    """Runs events in order of their times; events of the same time run in the order in which they were added.

    Attributes:
        now_s: time of the event that runs.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], Any]]] = []
        self._order = count()

    def at(self, time_s: float, event: Callable[[], Any]) -> None:
        """Run an event at a time; at once if that has passed."""
        heappush(self._events, (max(time_s, self.now_s), next(self._order), event))

    def start(self, stream: Callable[[], None], at_s: float = 0.0) -> None:
        """Run a function that may wait, as a stream of its own."""
        self.at(at_s, lambda: greenlet(stream).switch())  # made by `run`, so that it gives control back to it

    def wait_until(self, time_s: float) -> None:
        """Let all earlier events run. Only for streams."""
        self.at(time_s, getcurrent().switch)
        _pause()

    def run(self) -> None:
        """Run until no event is left."""
        while self._events:
            self.now_s, _, event = heappop(self._events)
            event()


class Mailbox(Generic[Value]):
    """One value that a stream waits for, with a limit of time.

    Args:
        world: its time.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._value: Value | None = None
        self._waiting: greenlet | None = None

    def put(self, value: Value) -> None:
        """Deliver the value; the stream that waits for it goes on in a new event. Ignored after the limit."""
        self._value = value
        self._wake()

    def get(self, until_s: float) -> Value | None:
        """Wait for the value; None if it does not come by `until_s`."""
        if self._value is None:
            self._waiting = getcurrent()
            if until_s < math.inf:
                self._world.at(until_s, self._wake)
            _pause()
        return self._value

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._world.at(self._world.now_s, waiting.switch)


def _pause() -> None:
    """Give control back to `World.run`."""
    parent = getcurrent().parent
    assert parent is not None, "only a stream can wait"
    parent.switch()
