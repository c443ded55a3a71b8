"""One stream over the last two minutes, from reports whose counts only grow."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from janus_vit.live_page.feed import COLUMNS, KEPT, PERIOD_S, Value
from janus_vit.wire.stream_report import StreamReport

_COUNTS = (
    "frames",
    "in_time",
    "fallbacks",
    "refusals",
    "images",
    "tokens",
    "rated",
    "expected_right",
    "latency_s",
)
_Counts = dict[str, float]


class Stream:
    """The reports of one stream, one kept for each update of the page.

    Args:
        number: its number on the page.
        name: name of the device.
        now_s: time of the first sign of life.
    """

    def __init__(self, number: int, name: str, now_s: float) -> None:
        self.number, self.name = number, name
        self.heard_s = now_s
        self.requests = 0  # as the cloud counts them
        self._report: StreamReport | None = None
        self._kept: deque[tuple[StreamReport | None, int]] = deque(maxlen=KEPT + 1)
        self._points: deque[list[Value]] = deque(maxlen=KEPT)

    def hear(self, report: StreamReport) -> None:
        """Take in a report. One whose counts have fallen is the first of a new stream under the same name."""
        before = self._report
        if before is not None and any(getattr(report, name) < getattr(before, name) for name in _COUNTS):
            self._kept.clear()
        self._report = report

    def step(self) -> None:
        """Close the time since the last update."""
        last = self._kept[-1][0] if self._kept else None
        self._kept.append((self._report, self.requests))
        self._points.append(self._point(last, self._report))

    def values(self, now_s: float) -> dict[str, Value]:
        """What the page shows, by the names of `feed.COLUMNS`."""
        first, first_requests = self._kept[0]
        report, requests = self._kept[-1]
        window_s = max(PERIOD_S, PERIOD_S * (len(self._kept) - 1))
        recent = _since(first, report)
        values = (
            self.number,
            self.name,
            round(now_s - self.heard_s, 1),
            _rounded(1e3 * report.sla_s) if report else None,
            report.plan if report else None,
            _share(recent["in_time"], recent["frames"]),
            _share(recent["expected_right"], recent["rated"]),
            _rounded(recent["frames"] / window_s) if report else None,
            recent["fallbacks"] if report else None,
            recent["refusals"] if report else None,
            _rounded((requests - first_requests) / window_s),
            *self._points[-1],
        )
        return dict(zip(COLUMNS, values, strict=True))

    def recent(self) -> _Counts:
        """Counts of the last two minutes."""
        return _since(self._kept[0][0], self._kept[-1][0])

    def points(self) -> list[list[Value]]:
        """Values of `feed.POINT` for each update."""
        return list(self._points)

    @staticmethod
    def _point(last: StreamReport | None, report: StreamReport | None) -> list[Value]:
        new = _since(last, report)
        frames = new["frames"]
        if report is None or not frames:
            return [None, None, None, None, 0, 0]
        sent = (frames - new["images"] - new["tokens"], new["images"], new["tokens"])
        return [
            _rounded(1e3 * new["latency_s"] / frames),
            _rounded(report.rate_mbps) if report.rate_mbps else None,
            _share(frames - new["in_time"], frames),
            sent.index(max(sent)),
            new["fallbacks"],
            new["refusals"],
        ]


def total(streams: Sequence[Stream]) -> Callable[[str], float]:
    """Sum of a count of the last two minutes over streams."""
    recents = [stream.recent() for stream in streams]
    return lambda name: math.fsum(recent[name] for recent in recents)


def _since(first: StreamReport | None, last: StreamReport | None) -> _Counts:
    """What has been added between two reports; all zero if the first one is missing."""
    if first is None or last is None:
        return dict.fromkeys(_COUNTS, 0)
    return {name: getattr(last, name) - getattr(first, name) for name in _COUNTS}


def _share(part: float, whole: float) -> float | None:
    return round(min(max(part / whole, 0.0), 1.0), 4) if whole > 0 else None


def _rounded(value: float | None) -> float | None:
    """Four significant digits: what a chart can show, in few bytes."""
    return None if value is None else float(f"{value:.4g}")
