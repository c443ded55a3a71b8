"""Collects the spans of a device and a cloud in memory, and checks those of one frame."""

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from janus_vit.tracing.opentelemetry import SpanExport
from janus_vit.tracing.request_spans import request_spans


class Collector:
    """Keeps the spans of device and cloud in memory."""

    def __init__(self):
        self.memory = InMemorySpanExporter()
        self.export = SpanExport("janus-vit-test", SimpleSpanProcessor(self.memory))
        self.requests = []

    def take_request(self, traced):
        self.export.add(request_spans(traced))
        self.requests.append(traced)  # last: who waits for a request finds its spans

    def spans(self):
        return self.memory.get_finished_spans()

    def check_one_frame(self, outcome):
        """All spans are of this frame, which the cloud answered; each has its parent, on both sides."""
        assert outcome.fallback is None
        spans = {span.name: span for span in self.spans()}
        assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {outcome.trace.split("-")[1]}
        names = {span.context.span_id: span.name for span in self.spans()}
        parents = {span.name: span.parent and names[span.parent.span_id] for span in spans.values()}
        assert parents["frame"] is None
        assert parents["offload"] == "frame"
        assert parents["request"] == "offload"
        assert parents["batch"] == "compute"
        assert parents["receive"] == parents["decode"] == parents["queue"] == parents["reply"] == "request"
        assert parents["prepare"] == parents["plan"] == parents["encode"] == "frame"
        assert (spans["offload"].kind, spans["request"].kind) == (SpanKind.CLIENT, SpanKind.SERVER)
        assert spans["request"].parent.is_remote
        assert spans["batch"].attributes["janus.frames"] == 1
        assert all(span.start_time <= span.end_time for span in spans.values())
