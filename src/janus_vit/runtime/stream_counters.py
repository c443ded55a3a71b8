"""Counts what a stream has done, and reports it to the cloud twice a second. Knows no network."""

from __future__ import annotations

from dataclasses import replace

from janus_vit.planning.outcome import Outcome
from janus_vit.wire.stream_report import LONGEST_TEXT, StreamReport

_EVERY_S = 0.5  # between reports; a hundred bytes with every frame would be felt on a slow link


class StreamCounters:
    """The report of one stream. Frames are counted in one thread; any thread may ask for the report.

    Args:
        device: name of the device.
    """

    def __init__(self, device: str) -> None:
        self.report = StreamReport(device, plan="", sla_s=0.0)
        self._reported_s = -_EVERY_S

    def add(self, outcome: Outcome) -> None:
        """Count a frame."""
        before, accuracy = self.report, outcome.predicted.accuracy
        self.report = replace(
            before,
            plan=str(outcome.plan)[:LONGEST_TEXT],
            sla_s=outcome.sla_s,
            rate_mbps=outcome.predicted.rate_mbps or 0.0,
            frames=before.frames + 1,
            in_time=before.in_time + outcome.met,
            fallbacks=before.fallbacks + (outcome.fallback is not None),
            refusals=before.refusals + outcome.refused,
            images=before.images + (outcome.plan.sends == "image"),
            tokens=before.tokens + (outcome.plan.sends == "tokens"),
            rated=before.rated + (accuracy is not None),
            expected_right=before.expected_right + (accuracy or 0.0) * outcome.met,
            latency_s=before.latency_s + outcome.measured.total_s,
        )

    def due(self, now_s: float) -> StreamReport | None:
        """The report, if it is time for one: after a frame, and half a second after the last one."""
        if not self.report.frames or now_s < self._reported_s + _EVERY_S:
            return None
        self._reported_s = now_s
        return self.report
