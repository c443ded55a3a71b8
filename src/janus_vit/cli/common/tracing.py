"""Options for traces, of the cloud and of devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import messages, say
from janus_vit.tracing.frames import FrameTracer, check_share
from janus_vit.tracing.opentelemetry import SpanExport
from janus_vit.tracing.request_spans import RequestTrace, request_spans

if TYPE_CHECKING:
    from collections.abc import Callable

TraceShare = Annotated[
    float,
    typer.Option(
        "--trace-share",
        metavar="SHARE",
        help="Share of the frames to trace with OpenTelemetry, such as 0.01. OTEL_EXPORTER_OTLP_ENDPOINT says where "
        "the traces go. Needs pip install 'janus-vit\\[otel]'.",
    ),
]
Traces = Annotated[
    bool,
    typer.Option(
        "--traces",
        help="Continue the traces of devices with OpenTelemetry. OTEL_EXPORTER_OTLP_ENDPOINT says where they go. "
        "Needs pip install 'janus-vit\\[otel]'.",
    ),
]


def frame_tracer(share: float) -> FrameTracer | None:
    """A tracer of a device; None for a share of 0.

    Raises:
        InputError: the share is not from 0 to 1, OpenTelemetry is not installed, or a variable of it cannot be used.
    """
    check_share(share)
    if not share:
        return None
    return FrameTracer(share, SpanExport("janus-vit-device", notify=partial(say, messages())))


@contextmanager
def request_tracer(wanted: bool) -> Iterator[Callable[[RequestTrace], None] | None]:
    """What exports the traced requests of a cloud, until the end of the `with` block; None if it is not wanted.

    Raises:
        InputError: OpenTelemetry is not installed, or one of its variables cannot be used.
    """
    if not wanted:
        yield None
        return
    with SpanExport("janus-vit-cloud", notify=partial(say, messages())) as export:
        yield lambda traced: export.add(request_spans(traced))
