"""One frame over the network is one trace: the spans of the device and those of the cloud."""

import sys

import pytest
from opentelemetry.trace import StatusCode
from patience import PATIENCE_S
from trace_collector import Collector

from janus_vit.cloud.server import Cloud
from janus_vit.cloud.watching.traces import ContinuedTraces
from janus_vit.errors import InputError
from janus_vit.runtime.connect import connect
from janus_vit.tracing.frames import FrameTracer
from janus_vit.tracing.opentelemetry import SpanExport
from janus_vit.tracing.trace_context import TraceContext
from janus_vit.wire.rpc import TRACE

HEADER = TraceContext(7, 9).header()


@pytest.fixture
def collector():
    collector = Collector()
    with collector.export:
        yield collector


@pytest.fixture
def profile(make_profile):
    return make_profile(1e-5, model="small")


def test_a_frame_is_one_trace_across_device_and_cloud(model, profile, frames, collector):
    """With ingest processes, too: tests/cloud/test_ingest_pool.py."""
    tracer = FrameTracer(1.0, collector.export)
    options = {"sla_s": PATIENCE_S, "policy": "cloud-only", "tracer": tracer}
    with Cloud(model, profile, engine="eager", on_trace=collector.take_request) as cloud:
        with connect(model, f"127.0.0.1:{cloud.port}", profile, **options) as device:
            outcome = device.infer(frames[0])
        cloud.drain()
        cloud.close()
    collector.check_one_frame(outcome)


def test_without_a_tracer_no_header_is_sent_and_nothing_is_continued(model, profile, frames, collector):
    with Cloud(model, profile, engine="eager", on_trace=collector.take_request) as cloud:
        with connect(model, f"127.0.0.1:{cloud.port}", profile, sla_s=PATIENCE_S, policy="cloud-only") as device:
            outcome = device.infer(frames[0])
        cloud.close()
    assert outcome.trace is None
    assert collector.spans() == ()


def test_a_cloud_that_traces_nothing_leaves_the_frame_as_it_is(model, profile, frames, collector):
    tracer = FrameTracer(1.0, collector.export)
    with (
        Cloud(model, profile, engine="eager") as cloud,
        connect(
            model, f"127.0.0.1:{cloud.port}", profile, sla_s=PATIENCE_S, policy="cloud-only", tracer=tracer
        ) as device,
    ):
        assert device.infer(frames[0]).fallback is None
    assert "request" not in {span.name for span in collector.spans()}


def test_a_refused_request_says_why(model, profile, frames, collector):
    with Cloud(model, profile, engine="eager", on_trace=collector.take_request) as cloud:
        tracer = FrameTracer(1.0, collector.export)
        options = {"sla_s": PATIENCE_S, "policy": "cloud-only", "tracer": tracer}
        with connect(model, f"127.0.0.1:{cloud.port}", profile, **options) as device:
            cloud._front.drain()
            outcome = device.infer(frames[0])
        cloud.close()
    spans = {span.name: span for span in collector.spans()}
    assert spans["request"].status.status_code is StatusCode.ERROR
    assert spans["request"].status.description == "Unreachable: the cloud is shutting down"
    assert spans["offload"].status.description == outcome.fallback
    assert "fall back" in spans


def test_without_opentelemetry_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InputError, match=r"pip install 'janus-vit\[otel\]'"):
        SpanExport("janus-vit-test")


def test_only_so_many_traces_are_continued_in_a_second():
    now_s = [0.0]
    traces = ContinuedTraces(2.0, now=lambda: now_s[0])
    metadata = [("authorization", "x"), (TRACE, HEADER)]
    assert [traces.parent(metadata) is not None for _ in range(4)] == [True, True, False, False]
    now_s[0] = 0.5
    assert [traces.parent(metadata) is not None for _ in range(2)] == [True, False]
    now_s[0] = 1e6
    assert sum(traces.parent(metadata) is not None for _ in range(9)) == 2


@pytest.mark.parametrize("metadata", [None, [], [(TRACE, "no")], [(TRACE, HEADER)] * 2])
def test_metadata_without_one_good_header_continue_nothing(metadata):
    assert ContinuedTraces(2.0).parent(metadata) is None


def test_a_cloud_that_may_continue_none_reads_no_header():
    assert ContinuedTraces(0.0).parent([(TRACE, HEADER)]) is None
