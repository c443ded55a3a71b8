"""Spans on the wire: OpenTelemetry's own exporter sends them to a gRPC server that takes OTLP, as collectors do."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from patience import PATIENCE_S

from janus_vit.cloud.server import Cloud
from janus_vit.errors import InputError
from janus_vit.runtime.connect import connect
from janus_vit.tracing.frames import FrameTracer
from janus_vit.tracing.opentelemetry import SpanExport
from janus_vit.tracing.request_spans import request_spans


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it receives."""

    def __init__(self):
        self.resources, self.headers = [], []
        self._server = grpc.server(ThreadPoolExecutor(1))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request, context):  # noqa: N802 - the name that OTLP gives it
        self.resources += request.resource_spans
        self.headers.append(dict(context.invocation_metadata()))
        return trace_service_pb2.ExportTraceServiceResponse()

    def close(self):
        self._server.stop(None).wait()


@pytest.fixture
def collector(monkeypatch):
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=robots")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "site=hall-3")
    yield collector
    collector.close()


def test_a_collector_receives_one_trace_from_device_and_cloud(model, make_profile, frames, collector):
    profile = make_profile(1e-5, model="small")
    with SpanExport("janus-vit-cloud") as export, SpanExport("janus-vit-device") as sink:
        tracer = FrameTracer(1.0, sink)
        with Cloud(model, profile, engine="eager", on_trace=lambda traced: export.add(request_spans(traced))) as cloud:
            options = {"sla_s": PATIENCE_S, "policy": "cloud-only", "tracer": tracer}
            with connect(model, f"127.0.0.1:{cloud.port}", profile, **options) as device:
                outcomes = [device.infer(frame) for frame in frames[:2]]
            cloud.drain()
    found = {
        next(each.value.string_value for each in one.resource.attributes if each.key == "service.name"): one
        for one in collector.resources
    }
    assert set(found) == {"janus-vit-cloud", "janus-vit-device"}
    spans = {name: [span for scope in one.scope_spans for span in scope.spans] for name, one in found.items()}
    traces = {outcome.trace.split("-")[1] for outcome in outcomes}
    assert {span.trace_id.hex() for each in spans.values() for span in each} == traces
    offloads = {span.span_id for span in spans["janus-vit-device"] if span.name == "offload"}
    assert {span.parent_span_id for span in spans["janus-vit-cloud"] if span.name == "request"} == offloads
    for one in found.values():
        assert ("site", "hall-3") in {(each.key, each.value.string_value) for each in one.resource.attributes}
    assert {headers["x-team"] for headers in collector.headers} == {"robots"}


def test_a_collector_that_cannot_be_reached_is_told_once(monkeypatch):
    told, heard = [], Event()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")

    def notify(sentence):
        told.append(sentence)
        heard.set()

    tracer = FrameTracer(1.0, export := SpanExport("janus-vit-device", notify=notify))
    assert tracer.begin() is not None
    export._provider.get_tracer("test").start_span("lost").end()
    export.close()
    assert heard.wait(PATIENCE_S)
    assert len(told) == 1
    assert told[0].startswith("traces: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "foo"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ],
)
def test_a_variable_that_cannot_be_used_is_one_sentence(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=rf"traces cannot be exported \(.*{value}.*\): check the variables OTEL_"):
        SpanExport("janus-vit-device")


def test_a_variable_that_opentelemetry_replaces_is_told(monkeypatch):
    told = []
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "abc")
    SpanExport("janus-vit-device", notify=told.append).close()
    assert len(told) == 1
    assert "OTEL_BSP_SCHEDULE_DELAY" in told[0]
