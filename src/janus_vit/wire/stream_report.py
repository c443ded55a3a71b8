"""How a device's stream goes, in a message of some hundred bytes for the cloud's live page. Checks all that it parses.

A report is what a device claims of itself. It is shown to people; no decision depends on it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.fields import parse, require_field

LONGEST_TEXT = 64  # characters
_LARGEST_COUNT, _LARGEST_NUMBER = 2**53, 1e12
_TEXTS = ("device", "plan")
_SHARES = ("in_time", "fallbacks", "refusals", "rated", "expected_right")


@dataclass(frozen=True, slots=True)
class StreamReport:
    """Counts since the start of a stream, and its present state. The fields are those of janus.proto.

    Attributes:
        device: name of the device.
        plan: the last frame's plan in words.
        sla_s: time allowed for a frame.
        rate_mbps: forecast of the link in 10^6 bit/s; 0 if unknown.
        frames: frames that were run.
        in_time: frames that met the SLA.
        fallbacks: frames that the device finished because the cloud did not answer.
        refusals: frames that the cloud refused.
        images: frames that were sent as an image.
        tokens: frames that were sent as tokens.
        rated: frames whose plan has a measured accuracy.
        expected_right: right answers in time that these frames let expect.
        latency_s: sum of the latencies of all frames.
    """

    device: str
    plan: str
    sla_s: float
    rate_mbps: float = 0.0
    frames: int = 0
    in_time: int = 0
    fallbacks: int = 0
    refusals: int = 0
    images: int = 0
    tokens: int = 0
    rated: int = 0
    expected_right: float = 0.0
    latency_s: float = 0.0


def serialise_stream_report(report: StreamReport) -> bytes:
    """Serialise a report as a protobuf message."""
    return pb.StreamReport(**asdict(report)).SerializeToString()


def parse_stream_report(data: bytes) -> StreamReport:
    """Parse and check a report.

    Raises:
        WireError: the bytes are not a report, or a field is out of range; the message names it.
    """
    message = parse(pb.StreamReport, data)
    report = StreamReport(**{name: getattr(message, name) for name in StreamReport.__dataclass_fields__})
    for name in _TEXTS:
        text = getattr(report, name)
        shown = text.isprintable() and len(text) <= LONGEST_TEXT
        require_field(shown, name, f"is not at most {LONGEST_TEXT} printable characters")
    for name in ("sla_s", "latency_s", "rate_mbps"):
        value = getattr(report, name)
        require_field(0 <= value <= _LARGEST_NUMBER, name, f"is {value}, expected 0 to {_LARGEST_NUMBER:g}")
    require_field(report.frames <= _LARGEST_COUNT, "frames", f"is {report.frames}, expected at most 2^53")
    for name in _SHARES:
        value = getattr(report, name)
        possible = math.isfinite(value) and 0 <= value <= report.frames
        require_field(possible, name, f"is {value}, but there were {report.frames} frames")
    sent = report.images + report.tokens
    require_field(sent <= report.frames, "images", f"and tokens are {sent}, but there were {report.frames} frames")
    return report
