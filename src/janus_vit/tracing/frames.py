"""The device's side: which frames are traced, and where their spans go."""

from __future__ import annotations

import math
from random import Random
from types import TracebackType

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Outcome
from janus_vit.tracing.frame_spans import frame_spans
from janus_vit.tracing.span import SpanSink
from janus_vit.tracing.trace_context import new_context


class FrameTracer:
    """Traces a share of the frames.

    Args:
        share: of the frames, from 0 to 1.
        sink: takes the spans of a frame.
        random: draws the frames and the numbers of traces; default: seeded by the operating system.

    Raises:
        InputError: the share is not from 0 to 1.
    """

    def __init__(self, share: float, sink: SpanSink, random: Random | None = None) -> None:
        check_share(share)
        self._share = share
        self._sink = sink
        self._random = random or Random()

    def begin(self) -> str | None:
        """The header `traceparent` of the next frame; None if it is not traced."""
        return new_context(self._random).header() if self._random.random() < self._share else None

    def end(self, outcome: Outcome) -> None:
        """Pass on the spans of a frame, if it was traced."""
        if outcome.trace is not None:
            self._sink.add(frame_spans(outcome))

    def __enter__(self) -> FrameTracer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()


def check_share(share: float) -> None:
    """Require a share of frames.

    Raises:
        InputError: it is not from 0 to 1.
    """
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise InputError(f"--trace-share {share} is not possible: give a share of the frames from 0 to 1, such as 0.01")
