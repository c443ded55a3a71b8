"""The live page of a device: its own stream, frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from janus_vit.live_page.feed import Tile, Update, Value
from janus_vit.live_page.stream import Stream
from janus_vit.planning.outcome import Outcome
from janus_vit.records.writer import to_record
from janus_vit.runtime.stream_counters import StreamCounters

_RECORDS = 1_000
_WAITING = 4_096  # frames between two updates; more than a device runs
_TILES = (
    Tile("In time", "%", "Share of the frames within the SLA; last two minutes."),
    Tile("Right and in time", "%", "Expected share of right answers in time, from the measured accuracy of the plans."),
    Tile("Latency", "ms", "Mean from capture to answer, since the last update."),
    Tile("Bandwidth", "Mbps", "Forecast of the link, with which the last frame was planned."),
    Tile("Frames", "/s", "Frames that were run; last two minutes."),
    Tile("Fallbacks", "", "Frames that the device finished because the cloud did not answer; last two minutes."),
    Tile("Refused", "", "Frames that the cloud refused; last two minutes."),
)


class DeviceFeed:
    """See `Feed`.

    Args:
        name: of the device.
        subtitle: one line about what runs.
        labels: names of the classes, for the records.
        threshold: as in `to_record`.
    """

    has_metrics = False

    def __init__(self, name: str, subtitle: str, labels: tuple[str, ...] = (), threshold: float | None = None) -> None:
        self.title, self.subtitle = name, subtitle
        self.tiles: Sequence[Tile] = _TILES
        self._labels, self._threshold = labels, threshold
        self._counters = StreamCounters(name)
        self._stream: Stream | None = None
        self._waiting: deque[tuple[Outcome, str | None]] = deque(maxlen=_WAITING)
        self._records: deque[tuple[Outcome, str | None]] = deque(maxlen=_RECORDS)

    def add(self, outcome: Outcome, name: str | None = None) -> None:
        """Take in a frame, from any thread; never waits.

        Args:
            outcome: what happened to it.
            name: where it came from.
        """
        self._waiting.append((outcome, name))

    def update(self, now_s: float) -> Update:
        """See `Feed.update`."""
        for _ in range(len(self._waiting)):
            outcome, name = self._waiting.popleft()
            self._counters.add(outcome)
            self._records.append((outcome, name))
            if self._stream is None:
                self._stream = Stream(0, self.title, now_s)
            self._stream.heard_s = now_s
        if self._stream is None:
            return Update([None] * len(_TILES), ())
        self._stream.hear(self._counters.report)
        self._stream.step()
        values = self._stream.values(now_s)
        shown = ("in_time", "expected", "latency_ms", "mbps", "frames_per_s", "fallbacks", "refusals")
        return Update([values[name] for name in shown], [list(values.values())])

    def points(self) -> dict[int, list[list[Value]]]:
        """See `Feed.points`."""
        return {} if self._stream is None else {self._stream.number: self._stream.points()}

    def records(self) -> Iterable[dict[str, Any]]:
        """See `Feed.records`: the last frames, as in the file of --records."""
        for outcome, name in list(self._records):
            yield to_record(outcome, self._labels, name, None, self._threshold)

    def metrics(self) -> bytes:
        """See `Feed.metrics`: a device has none."""
        return b""
