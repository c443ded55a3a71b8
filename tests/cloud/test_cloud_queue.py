"""What a cloud does with requests that it cannot serve at once: it refuses or drops them before they cost anything."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import torch
from cloud_requests import image_request
from patience import PATIENCE_S, wait_until

from janus_vit.cloud.in_process import local_service
from janus_vit.cloud.ingest import Ingest
from janus_vit.cloud.loop import EngineLoop
from janus_vit.cloud.server import Cloud
from janus_vit.errors import Rejected
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.scheduling.config import CloudConfig
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.messages import serialise_request
from janus_vit.wire.rpc import INFER


@pytest.fixture
def profile(make_profile):
    return make_profile(1e-5, model="small")


def test_one_device_may_not_fill_the_queue(model, profile, monkeypatch):
    release = threading.Event()
    config = CloudConfig(waiting_per_client=5)
    with Cloud(model, profile, engine="eager", config=config) as cloud:
        monkeypatch.setattr(
            EagerEngine, "head", lambda self, activation: release.wait(PATIENCE_S) and torch.zeros(1, 7)
        )
        transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7))
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(transport.infer, image_request(model), PATIENCE_S) for _ in range(8)]
            wait_until(lambda: sum(call.done() for call in calls) >= 3)  # one runs, four wait, three are refused
            release.set()
            refused = [call.exception() for call in calls if call.exception()]
        transport.close()
    assert len(refused) == 3
    assert all("RESOURCE_EXHAUSTED" in str(error.__cause__.code()) for error in refused)


def test_a_request_that_waits_past_its_deadline_is_dropped(model, profile, monkeypatch):
    release = threading.Event()
    heads = []
    with Cloud(model, profile, engine="eager") as cloud:
        monkeypatch.setattr(
            EagerEngine,
            "head",
            lambda self, activation: heads.append(1) or (release.wait(PATIENCE_S) and torch.zeros(1, 7)),
        )
        transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7))
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(transport.infer, image_request(model, device="a"), PATIENCE_S)
            wait_until(lambda: heads)
            for time_left_s in (0.3, 3.0, 30.0):  # until one of them is taken in
                late = pool.submit(
                    transport.infer, image_request(model, device="b", time_left_s=time_left_s), PATIENCE_S
                )
                wait_until(lambda call=late: call.done() or cloud.load().waiting == 2)
                if not late.done():
                    break
            time.sleep(time_left_s + 0.1)
            release.set()
            assert first.result().answer.classes
            assert "passed while the request waited" in str(late.exception().__cause__.details())
        transport.close()
    assert len(heads) == 1


def test_a_device_that_hangs_up_leaves_its_place_to_others(model, profile, monkeypatch):
    release, heads = threading.Event(), []
    with Cloud(model, profile, engine="eager") as cloud:
        monkeypatch.setattr(
            EagerEngine,
            "head",
            lambda self, activation: heads.append(1) or (release.wait(PATIENCE_S) and torch.zeros(1, 7)),
        )
        transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7))
        with ThreadPoolExecutor(2) as pool, grpc.insecure_channel(f"127.0.0.1:{cloud.port}") as channel:
            first = pool.submit(transport.infer, image_request(model, device="a"), PATIENCE_S)
            wait_until(lambda: heads)
            gone = channel.stream_unary(INFER).future(
                iter([serialise_request(image_request(model, device="b"))]), timeout=PATIENCE_S
            )
            wait_until(lambda: cloud.load().waiting == 2)
            gone.cancel()
            wait_until(lambda: cloud.load().waiting == 1)
            release.set()
            assert first.result().answer.classes
            assert transport.infer(image_request(model, device="c"), PATIENCE_S).answer.classes
        transport.close()
    assert len(heads) == 2


def test_a_request_that_would_be_refused_is_not_decoded(model, profile, monkeypatch):
    def refuse(self, job):
        raise Rejected(f"{job.client} waits already")

    service = local_service(model, EagerEngine(model), profile)
    monkeypatch.setattr(EngineLoop, "check", refuse)
    monkeypatch.setattr(Ingest, "decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(Rejected, match="camera waits already"):
        service.handle(image_request(model, device="camera"), 0.0)
    service.close()
