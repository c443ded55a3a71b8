"""What an operator sees: counters by outcome and device, bounded in number, and a page that serves them."""

import http.client
import socket
import urllib.request

import pytest
from patience import PATIENCE_S

from janus_vit.cloud.metrics import ANSWERED, CloudMetrics, RequestRecord, outcome_of
from janus_vit.cloud.watching import metrics_page
from janus_vit.cloud.watching.metrics_page import MetricsPage
from janus_vit.errors import DeadlineExceeded, InputError, ModelMismatch, Overloaded, Rejected, Unreachable, WireError
from janus_vit.planning.price import EnginePrice
from janus_vit.scheduling.job import Batch, Job
from janus_vit.scheduling.scheduler import Load

LOAD = Load(expected_wait_s=0.25, price=EnginePrice(), waiting=3, busy=True)


@pytest.fixture
def metrics():
    return CloudMetrics()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_a_request_counts_by_its_outcome_its_device_and_its_block(metrics):
    metrics.request_ended(RequestRecord("camera", ANSWERED, 1000, entry_block=6, queue_s=0.01, compute_s=0.02))
    metrics.request_ended(RequestRecord("camera", "refused", 500))
    assert value(metrics, "janus_requests_total", outcome="answered") == 1
    assert value(metrics, "janus_device_requests_total", device="camera", outcome="refused") == 1
    assert value(metrics, "janus_entry_blocks_total", block="6") == 1
    assert value(metrics, "janus_payload_bytes_total") == 1500
    assert value(metrics, "janus_compute_seconds_sum") == pytest.approx(0.02)


def test_a_client_that_claims_ever_new_names_cannot_fill_the_memory(metrics):
    for number in range(2_000):
        metrics.request_ended(RequestRecord(f"name {number}", ANSWERED, 1, entry_block=0))
    devices = {sample.labels["device"] for family in metrics.registry.collect() for sample in family.samples
               if sample.name == "janus_device_requests_total"}  # fmt: skip
    assert len(devices) == 257
    assert value(metrics, "janus_device_requests_total", device="(others)", outcome="answered") == 2_000 - 256


def test_a_batch_shows_its_frames_its_tokens_and_the_load_after_it(metrics):
    jobs = tuple(Job(number, "camera", 0.0, 1.0, 2, (17, 13, 13)) for number in range(3))
    metrics.batch_ran(Batch(jobs, 2, 3), 0.5, LOAD)
    assert value(metrics, "janus_batch_frames_sum") == 3
    assert value(metrics, "janus_batch_tokens_sum") == 51
    assert value(metrics, "janus_batches_total", start="2", stop="3") == 1
    assert value(metrics, "janus_engine_busy_seconds_total") == 0.5
    assert value(metrics, "janus_expected_wait_seconds") == 0.25
    assert value(metrics, "janus_waiting_requests") == 3


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "answered"),
        (WireError("x"), "invalid"),
        (ModelMismatch("x"), "invalid"),
        (DeadlineExceeded("x"), "late"),
        (Rejected("x"), "refused"),
        (Overloaded("x"), "refused"),
        (Unreachable("x"), "closing"),
    ],
)
def test_every_error_has_its_outcome(error, outcome):
    assert outcome_of(error) == outcome


def test_readiness_is_what_the_cloud_tells_when_somebody_asks(metrics):
    accepts = True
    metrics.ready_while(lambda: accepts)
    assert value(metrics, "janus_ready") == 1.0
    accepts = False
    assert value(metrics, "janus_ready") == 0.0


def test_the_page_serves_the_metrics_and_a_taken_port_is_one_sentence(metrics):
    metrics.ready_while(lambda: True)
    with MetricsPage(metrics, "127.0.0.1", 0) as page:
        with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics", timeout=PATIENCE_S) as answer:
            assert b"janus_ready 1.0" in answer.read()
        with pytest.raises(InputError, match="choose a free port"):
            MetricsPage(metrics, "127.0.0.1", page.port)


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:9090", 200), ("LOCALHOST", 200), ("[::1]:9090", 200), ("evil.example:9090", 400), ("", 400)],
)
def test_on_loopback_a_foreign_name_that_points_to_this_machine_gets_nothing(metrics, host, status):
    with MetricsPage(metrics, "127.0.0.1", 0) as page:
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE_S)
        connection.request("GET", "/metrics", headers={"Host": host})
        assert connection.getresponse().status == status
        connection.close()


def test_on_other_addresses_any_name_gets_the_metrics(metrics):
    with MetricsPage(metrics, "0.0.0.0", 0) as page:
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE_S)
        connection.request("GET", "/metrics", headers={"Host": "cloud.example"})
        assert connection.getresponse().status == 200
        connection.close()


def test_connections_that_ask_for_nothing_hold_few_threads_and_do_not_keep_others_out(metrics):
    with MetricsPage(metrics, "127.0.0.1", 0) as page:
        silent = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(3 * metrics_page._MOST_REQUESTS)]
        with urllib.request.urlopen(page.url, timeout=PATIENCE_S) as answer:
            assert b"janus_ready" in answer.read()
        for connection in silent[: 2 * metrics_page._MOST_REQUESTS]:  # the oldest ones are cut
            connection.settimeout(PATIENCE_S)
            assert connection.recv(1) == b""
        assert len(page._server._open_until_s) <= metrics_page._MOST_REQUESTS
        for connection in silent:
            connection.close()


def test_a_request_that_takes_too_long_is_cut(metrics, monkeypatch):
    monkeypatch.setattr(metrics_page, "_REQUEST_S", 0.0)
    with MetricsPage(metrics, "127.0.0.1", 0) as page, socket.create_connection(("127.0.0.1", page.port)) as slow:
        slow.sendall(b"GET /metr")
        slow.settimeout(PATIENCE_S)
        assert slow.recv(1) == b""
