"""The live page of a cloud: its engine, and the streams of its devices as they report them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from janus_vit.cloud.metrics import RequestRecord
from janus_vit.cloud.watching.events import BatchRan, EventBuffer
from janus_vit.live_page.feed import PERIOD_S, Tile, Update, Value
from janus_vit.live_page.stream import Stream, total
from janus_vit.wire.stream_report import StreamReport

_LISTED = 256  # streams; a stranger can send any number of names
_FORGOTTEN_S = 120.0  # a stream that is silent for so long leaves the page
_SILENT_S = 10.0
_RECORDS = 1_000
_WINDOW = 20  # updates, for what the engine does
_TILES = (
    Tile("Devices", "", "Devices that sent something in the last 10 s."),
    Tile("In time", "%", "Share of the frames within their SLA, as the devices report it; last two minutes."),
    Tile("Right and in time", "%", "Expected share of right answers in time, from the measured accuracy of the plans."),
    Tile("Engine busy", "%", "Share of the last 10 s in which the engine ran a batch."),
    Tile("Batch size", "frames", "Mean number of frames in a batch; last 10 s."),
    Tile("Requests", "/s", "Requests that have ended; last 10 s."),
    Tile("Refused", "/s", "Requests that the cloud refused because they could not be in time; last 10 s."),
    Tile("Expected wait", "ms", "What a request that comes now would wait."),
)


@dataclass(frozen=True, slots=True)
class _Totals:
    """Counts since the start of the page."""

    requests: int = 0
    refused: int = 0
    batches: int = 0
    frames: int = 0
    busy_s: float = 0.0


class CloudFeed:
    """See `Feed`.

    Args:
        events: of the cloud.
        registry: the cloud's metrics.
        subtitle: one line about what the cloud serves.
    """

    has_metrics = True

    def __init__(self, events: EventBuffer, registry: CollectorRegistry, subtitle: str) -> None:
        self.title, self.subtitle = "Cloud", subtitle
        self.tiles: Sequence[Tile] = _TILES
        self._events, self._registry = events, registry
        self._streams: dict[str, Stream] = {}
        self._names = 0
        self._records: deque[RequestRecord] = deque(maxlen=_RECORDS)
        self._totals = _Totals()
        self._windows: deque[_Totals] = deque([self._totals], maxlen=_WINDOW + 1)
        self._wait_s = 0.0

    def update(self, now_s: float) -> Update:
        """See `Feed.update`."""
        events, unlisted = self._events.take(), 0
        for event in events:
            if isinstance(event, BatchRan):
                self._count_batch(event)
            elif not self._take(event, now_s):
                unlisted += isinstance(event, RequestRecord)
        for name in [name for name, stream in self._streams.items() if now_s - stream.heard_s > _FORGOTTEN_S]:
            del self._streams[name]
        self._windows.append(self._totals)
        for stream in self._streams.values():
            stream.step()
        rows = [list(stream.values(now_s).values()) for stream in self._streams.values()]
        return Update(self._tile_values(now_s), rows, unlisted)

    def points(self) -> dict[int, list[list[Value]]]:
        """See `Feed.points`."""
        return {stream.number: stream.points() for stream in self._streams.values()}

    def records(self) -> Iterable[dict[str, Any]]:
        """See `Feed.records`: the last requests."""
        return map(asdict, self._records)

    def metrics(self) -> bytes:
        """See `Feed.metrics`."""
        return generate_latest(self._registry)

    def _take(self, event: RequestRecord | StreamReport, now_s: float) -> bool:
        """Take in an event of a stream; False if it is not listed."""
        stream = self._stream(event.device, now_s)
        if isinstance(event, RequestRecord):
            self._records.append(event)
            counts = self._totals
            refused = counts.refused + (event.outcome == "refused")
            self._totals = replace(counts, requests=counts.requests + 1, refused=refused)
        if stream is None:
            return False
        stream.heard_s = now_s
        if isinstance(event, RequestRecord):
            stream.requests += 1
        else:
            stream.hear(event)
        return True

    def _stream(self, name: str, now_s: float) -> Stream | None:
        if name not in self._streams:
            if len(self._streams) >= _LISTED:
                return None
            self._names += 1
            self._streams[name] = Stream(self._names, name, now_s)
        return self._streams[name]

    def _count_batch(self, batch: BatchRan) -> None:
        counts = self._totals
        self._totals = replace(
            counts,
            batches=counts.batches + 1,
            frames=counts.frames + batch.frames,
            busy_s=counts.busy_s + batch.elapsed_s,
        )
        self._wait_s = batch.expected_wait_s

    def _tile_values(self, now_s: float) -> list[Value]:
        streams = list(self._streams.values())
        first, last = self._windows[0], self._windows[-1]
        window_s = PERIOD_S * max(1, len(self._windows) - 1)
        batches = last.batches - first.batches
        recent = total(streams)
        return [
            sum(now_s - stream.heard_s < _SILENT_S for stream in streams),
            _ratio(recent("in_time"), recent("frames")),
            _ratio(recent("expected_right"), recent("rated")),
            min(1.0, round((last.busy_s - first.busy_s) / window_s, 4)),
            _ratio(last.frames - first.frames, batches),
            round((last.requests - first.requests) / window_s, 1),
            round((last.refused - first.refused) / window_s, 1),
            round(1e3 * self._wait_s, 1) if batches else 0.0,
        ]


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole > 0 else None
