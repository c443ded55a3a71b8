"""Spans on their way to an OpenTelemetry collector. Needs the extra `otel`; endpoint and service name come from the
environment variables of OpenTelemetry."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING

from janus_vit.errors import InputError
from janus_vit.tracing.span import Kind, Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

_INSTALL = "traces need the extra otel: pip install 'janus-vit[otel]'"
_SERVICE_NAME = "OTEL_SERVICE_NAME"


class SpanExport:
    """Passes spans to OpenTelemetry's SDK, which sends them in a thread of its own.

    Args:
        service: name of the service, unless OTEL_SERVICE_NAME gives another.
        processor: takes the spans; default: sends them to a collector with OTLP over gRPC, which the variables
            OTEL_EXPORTER_OTLP_ENDPOINT and so on describe.
        notify: called with one sentence when a variable is not used as it is, and when the collector cannot be reached
            for the first time; also from a thread.

    Raises:
        InputError: OpenTelemetry is not installed, or a variable cannot be used.
    """

    def __init__(
        self,
        service: str,
        processor: SpanProcessor | None = None,
        notify: Callable[[str], None] = lambda message: None,
    ) -> None:
        _tell_once(notify)  # what is wrong with the variables
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON

            from janus_vit.tracing.given_ids import GivenIds

            self._ids = GivenIds()
            resource = Resource.create({} if os.environ.get(_SERVICE_NAME) else {"service.name": service})
            self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, id_generator=self._ids)
            self._provider.add_span_processor(processor or _to_collector())
        except ImportError as error:
            raise InputError(_INSTALL) from error
        except Exception as error:  # OpenTelemetry's errors of bad variables have no class in common
            problem = str(error) or type(error).__name__
            raise InputError(f"traces cannot be exported ({problem}): check the variables OTEL_...") from error
        self._tracer = self._provider.get_tracer("janus-vit")
        self._lock = Lock()
        _tell_once(notify)  # also what is wrong with the collector

    def add(self, spans: Sequence[Span]) -> None:
        """Pass on spans; never waits for the network. Any thread may call it."""
        now_ns, now_s = time.time_ns(), time.perf_counter()
        with self._lock:
            for span in spans:
                self._add(span, lambda at_s: now_ns + round(1e9 * (at_s - now_s)))

    def close(self) -> None:
        """Send what is left, and stop."""
        self._provider.shutdown()

    def __enter__(self) -> SpanExport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, span: Span, date_ns: Callable[[float], int]) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import (
            NonRecordingSpan,
            SpanContext,
            SpanKind,
            Status,
            StatusCode,
            TraceFlags,
            set_span_in_context,
        )

        around = Context()
        if span.parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED)
            parent = SpanContext(span.context.trace, span.parent, is_remote=span.kind is Kind.SERVER, trace_flags=flags)
            around = set_span_in_context(NonRecordingSpan(parent), around)
        self._ids.next = span.context
        begun = self._tracer.start_span(
            span.name,
            around,
            kind=SpanKind[span.kind.name],
            attributes=span.attributes,
            start_time=date_ns(span.began_s),
        )
        if span.problem is not None:
            begun.set_status(Status(StatusCode.ERROR, span.problem))
        begun.end(date_ns(max(span.began_s, span.ended_s)))


def _to_collector() -> SpanProcessor:
    """Sends batches of spans with OTLP over gRPC."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())


class _Once(logging.Handler):
    """Passes on the first message alone."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._notify = notify
        self._has_told = False

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        if not self._has_told:
            self._has_told = True
            self._notify(f"traces: {record.getMessage()}; this is said once")


def _tell_once(notify: Callable[[str], None]) -> None:
    """Let OpenTelemetry's warnings, one for each attempt to reach a collector, be told once from now on."""
    log = logging.getLogger("opentelemetry")
    log.handlers = [_Once(notify)]
    log.propagate = False
