"""A cloud whose network side runs in processes of its own: the same answers, and a crash that stays small."""

import os
import signal
import urllib.request

import grpc
import pytest
from cloud_requests import check_events_of_a_stream, image_request, token_request
from grpc_health.v1 import health_pb2, health_pb2_grpc
from patience import PATIENCE_S, wait_until
from trace_collector import Collector

from janus_vit.cloud.server import Cloud
from janus_vit.cloud.watching.events import EventBuffer
from janus_vit.errors import DeadlineExceeded, InputError, Rejected, Unreachable
from janus_vit.planning.price import CloudLoad, EnginePrice
from janus_vit.runtime.connect import connect
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.scheduler import Load, Scheduler
from janus_vit.tracing.frames import FrameTracer
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.rpc import SERVICE


@pytest.fixture(scope="module")
def profile(make_profile):
    return make_profile(1e-5, model="small")


@pytest.fixture(scope="module")
def events():
    """What the cloud tells of requests, batches and streams."""
    return EventBuffer()


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    with collector.export:
        yield collector


@pytest.fixture(scope="module")
def cloud(model, profile, events, collector):
    """One cloud for all tests: each of its processes takes seconds to start."""
    config = CloudConfig(ingest_processes=2, metrics_port=0)
    watching = {"on_event": events.add, "on_trace": collector.take_request}
    with Cloud(model, profile, engine="eager", config=config, **watching) as cloud:
        yield cloud


@pytest.fixture
def transport(cloud):
    transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7))
    yield transport
    transport.close()


def metric(cloud, line):
    with urllib.request.urlopen(f"http://127.0.0.1:{cloud.metrics_port}/metrics", timeout=PATIENCE_S) as page:
        text = page.read().decode()
    return next((float(each.split()[-1]) for each in text.splitlines() if each.startswith(line)), 0.0)


def test_answers_are_those_of_one_process(model, cloud, transport, make_profile):
    with Cloud(model, make_profile(1e-5, model="small"), engine="eager") as single:
        alone = GrpcTransport(f"127.0.0.1:{single.port}", Outputs(7))
        for request in (image_request(model), token_request(model)):
            assert transport.infer(request, PATIENCE_S).answer == alone.infer(request, PATIENCE_S).answer
        alone.close()


def test_a_bad_request_gets_its_status(model, transport):
    with pytest.raises(Rejected, match="field split"):
        transport.infer(token_request(model, split=7), PATIENCE_S)


def test_requests_are_counted_in_one_place(model, cloud, transport):
    before = metric(cloud, 'janus_requests_total{outcome="answered"}')
    transport.infer(image_request(model), PATIENCE_S)
    wait_until(lambda: metric(cloud, 'janus_requests_total{outcome="answered"}') == before + 1)
    assert metric(cloud, "janus_ready") == 1.0


def test_health_checks_are_answered(cloud):
    with grpc.insecure_channel(f"127.0.0.1:{cloud.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        status = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE_S).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_the_load_that_a_probe_tells_is_that_of_the_engines_process(cloud, transport, monkeypatch):
    busy = Load(0.5, EnginePrice(1e-3, 1e-3, 1e-4, 1e-5, answers_per_s=8.0), waiting=9, busy=True)
    monkeypatch.setattr(Scheduler, "load", lambda self, now_s: busy)

    def told():
        return transport.probe(1_000, PATIENCE_S).result(timeout=PATIENCE_S).load

    wait_until(lambda: told() == CloudLoad(0.5, busy.price), pause_s=0.06)


def test_a_device_tells_how_its_stream_goes_and_every_request_and_batch_is_an_event(model, cloud, events, profile):
    events.take()
    check_events_of_a_stream(events, model, cloud.port, profile)


def test_a_frame_is_one_trace_across_device_and_cloud(model, cloud, collector, profile, frames):
    options = {"sla_s": PATIENCE_S, "policy": "cloud-only", "tracer": FrameTracer(1.0, collector.export)}
    with connect(model, f"127.0.0.1:{cloud.port}", profile, **options) as device:
        outcome = device.infer(frames[0])
    wait_until(lambda: collector.requests)
    collector.check_one_frame(outcome)


def check_drain(cloud):
    """Health checks are answered with SERVING until the cloud is drained, and then no more."""
    check, answers = health_pb2.HealthCheckRequest(service=SERVICE), health_pb2.HealthCheckResponse
    with grpc.insecure_channel(f"127.0.0.1:{cloud.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(check, timeout=PATIENCE_S).status == answers.SERVING
        cloud.drain()
        wait_until(lambda: stub.Check(check, timeout=PATIENCE_S).status == answers.NOT_SERVING)


def test_a_drained_cloud_of_one_process_reports_that_it_does_not_serve(model, profile):
    with Cloud(model, profile, engine="eager") as drained:
        check_drain(drained)


def test_a_second_cloud_on_the_same_port_is_refused(model, cloud, make_profile):
    config = CloudConfig(ingest_processes=1)
    with pytest.raises(InputError, match="cannot listen"):
        Cloud(model, make_profile(1e-5, model="small"), f"127.0.0.1:{cloud.port}", engine="eager", config=config)


@pytest.mark.parametrize("error", [OSError(24, "too many open files"), RuntimeError("no shared memory\nmore lines")])
def test_a_system_that_lets_no_process_start_is_one_sentence(model, make_profile, monkeypatch, error):
    def fail(*sizes):
        raise error

    monkeypatch.setattr("janus_vit.cloud.processes.ingest_pool.slots_memory", fail)
    config = CloudConfig(ingest_processes=1)
    with pytest.raises(
        Unreachable, match=r"^the system lets no ingest process start \([^\n]*\): free memory"
    ) as refused:
        Cloud(model, make_profile(1e-5, model="small"), engine="eager", config=config)
    assert "\n" not in str(refused.value)


def test_one_process_that_is_killed_is_replaced_and_the_cloud_goes_on_until_it_is_drained(model, cloud):
    before = set(cloud.ingest_process_ids)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)

    def is_answered():
        transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7))
        try:
            return bool(transport.infer(image_request(model), PATIENCE_S).answer.classes)
        except (Unreachable, DeadlineExceeded):  # the process was killed, or other programs hold the CPU
            return False
        finally:
            transport.close()

    for _ in range(5):
        wait_until(is_answered, pause_s=0.05)
    wait_until(lambda: victim not in cloud.ingest_process_ids and len(cloud.ingest_process_ids) == 2)
    assert len(before & set(cloud.ingest_process_ids)) == 1
    check_drain(cloud)
