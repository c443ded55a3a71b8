"""What happens in a cloud, one event at a time, for whoever watches it. Knows no engine and no network."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from janus_vit.cloud.metrics import RequestRecord
from janus_vit.wire.stream_report import StreamReport

_KEPT = 65_536  # events between two looks; more than a cloud has in a second


@dataclass(frozen=True, slots=True)
class BatchRan:
    """A batch has ended.

    Attributes:
        frames: frames in it.
        elapsed_s: time that the engine took.
        expected_wait_s: what a request that came then would wait.
        waiting: requests that waited or ran then.
    """

    frames: int
    elapsed_s: float
    expected_wait_s: float
    waiting: int


Event: TypeAlias = RequestRecord | StreamReport | BatchRan


class EventBuffer:
    """Events from any threads for one reader. Adding takes no lock and never waits; the oldest events go first."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self.add = self._events.append

    def take(self) -> list[Event]:
        """Remove and return all events so far."""
        return [self._events.popleft() for _ in range(len(self._events))]
