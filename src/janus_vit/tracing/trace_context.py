"""The header that ties the spans of a device and a cloud together: W3C Trace Context, version 00. Pure text, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

_HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1  # the lowest bit of the flags
TRACE_BITS, SPAN_BITS = 128, 64


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A trace, and the span that the next span is a part of.

    Attributes:
        trace: number of the trace, not 0.
        span: number of the span, not 0.
    """

    trace: int
    span: int

    def header(self) -> str:
        """The header `traceparent` of a trace that is recorded."""
        return f"00-{self.trace:032x}-{self.span:016x}-{_SAMPLED:02x}"


def new_context(random: Random) -> TraceContext:
    """A new trace with random numbers."""
    return TraceContext(random.getrandbits(TRACE_BITS) or 1, random.getrandbits(SPAN_BITS) or 1)


def parse_header(header: str | bytes) -> TraceContext | None:
    """Parse a header from the network.

    Returns:
        The trace to continue; None if the header is not exactly one of version 00, or its trace is not recorded.
    """
    match = _HEADER.fullmatch(header) if isinstance(header, str) else None
    if match is None or not int(match[3], 16) & _SAMPLED:
        return None
    trace, span = int(match[1], 16), int(match[2], 16)
    return TraceContext(trace, span) if trace and span else None
