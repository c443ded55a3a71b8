"""What has ended by itself ends the cloud with one sentence, so that a supervisor starts it again; or it recovers."""

import asyncio
import multiprocessing
import signal
import urllib.request

import pytest
from patience import PATIENCE_S

from janus_vit.cli import main as cli
from janus_vit.cloud.access.settings import Access
from janus_vit.cloud.metrics import CloudMetrics
from janus_vit.cloud.processes import ingest_pool
from janus_vit.cloud.processes.ingest_pool import IngestSetup
from janus_vit.cloud.processes.shared_frames import slots_memory
from janus_vit.cloud.ray.replica import Replica
from janus_vit.cloud.server import Cloud
from janus_vit.cloud.watching import metrics_page
from janus_vit.cloud.watching.metrics_page import MetricsPage
from janus_vit.errors import CloudFailed
from janus_vit.planning.price import EnginePrice
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.scheduler import Load
from janus_vit.wire.messages import Greeting

IDLE = Load(expected_wait_s=0.0, price=EnginePrice(), waiting=0, busy=False)


@pytest.fixture
def cloud(model, make_profile):
    with Cloud(model, make_profile(1e-5, model="small"), engine="eager") as cloud:
        yield cloud


def stop(server):
    asyncio.run_coroutine_threadsafe(server._server.stop(0), server._loop)


def stop_loop(server):
    server._loop.call_soon_threadsafe(server._loop.stop)


def exit_thread(server):
    def leave():
        raise SystemExit(1)

    server._loop.call_soon_threadsafe(leave)


@pytest.mark.parametrize("end", [stop, stop_loop, exit_thread])
def test_a_grpc_server_that_ends_by_itself_ends_the_cloud(cloud, end):
    cloud.check()
    end(cloud._front._server)
    with pytest.raises(CloudFailed, match=r"^the gRPC server has ended by itself \(.*\): start the cloud again$"):
        cloud.wait()
    assert cloud.metrics.registry.get_sample_value("janus_ready") == 0.0


def test_an_engine_that_ends_by_itself_ends_the_cloud(cloud, monkeypatch):
    monkeypatch.setattr(cloud._loop._scheduler, "expire", lambda now_s: 1 / 0)
    with cloud._loop._changed:
        cloud._loop._changed.notify()
    with pytest.raises(CloudFailed, match=r"^the engine's thread has ended by itself"):
        cloud.wait()


def test_a_cloud_that_has_failed_is_one_line_and_a_status_of_its_own(capsys, monkeypatch):
    def fail(arguments, **options):
        raise CloudFailed("the gRPC server has ended by itself: start the cloud again")

    monkeypatch.setattr(cli, "app", fail)
    assert cli.main(["cloud"]) == 3
    assert capsys.readouterr().err == ("janus-vit: error: the gRPC server has ended by itself: start the cloud again\n")


class Failed:
    """A gRPC server that has ended by itself."""

    failure = "the gRPC server has ended by itself"

    def __init__(self, *arguments, **settings):
        self.stopped = False

    def stop(self, grace_s):
        pass


def test_an_ingest_process_whose_server_has_ended_ends_too_and_so_is_replaced(model, make_profile, monkeypatch):
    greeting = Greeting("small", model.fingerprint, make_profile(1e-5, model="small").to_json(), ())
    setup = IngestSetup(greeting, model.shape, "127.0.0.1:0", CloudConfig(), Access(), IDLE)
    monkeypatch.setattr(ingest_pool, "GrpcServer", Failed)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours, theirs = multiprocessing.Pipe()
    try:
        with pytest.raises(SystemExit, match=r"^the gRPC server has ended by itself: this ingest process ends"):
            ingest_pool._serve(theirs, slots_memory(1, 1000), setup)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()


class Service:
    """Computes nothing any more, or does."""

    def __init__(self, failure):
        self.failure = failure


def test_a_replica_whose_engine_has_ended_is_unhealthy():
    Replica(lambda: Service(None)).check_health()
    with pytest.raises(CloudFailed, match="the engine has ended: this replica has to be replaced"):
        Replica(lambda: Service("the engine has ended")).check_health()


def test_the_page_of_metrics_goes_on_after_a_failure(monkeypatch, caplog):
    monkeypatch.setattr(metrics_page, "_PAUSE_S", 0.0)
    failures = [MemoryError("no memory")]

    def fail_once(server):
        if failures:
            raise failures.pop()

    monkeypatch.setattr(metrics_page._Server, "service_actions", fail_once)
    with MetricsPage(CloudMetrics(), "127.0.0.1", 0) as page:
        for _ in range(2):
            with urllib.request.urlopen(page.url, timeout=PATIENCE_S) as answer:
                assert answer.status == 200
    assert [record.getMessage() for record in caplog.records] == [
        "the page of metrics failed (MemoryError: no memory): it goes on"
    ]
