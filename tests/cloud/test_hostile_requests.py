"""Devices that flood, hang up in the middle of a batch, or ask for what does not exist."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from cloud_requests import image_request, token_request
from patience import PATIENCE_S, wait_until

from janus_vit.cloud.server import Cloud
from janus_vit.errors import Rejected
from janus_vit.model.engines.known_time import KnownTimeEngine
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import constant_costs
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.messages import serialise_request
from janus_vit.wire.rpc import INFER

FIXED_S, FRAME_S = 0.06, 1e-3
OF_ONE_CLIENT = CloudConfig().waiting_per_client


@pytest.fixture
def gate():
    """While it is closed, the engine's batch does not end."""
    gate = threading.Event()
    gate.set()
    yield gate
    gate.set()


@pytest.fixture
def cloud(model, make_profile, gate):
    def wait(seconds):
        assert gate.wait(PATIENCE_S)
        time.sleep(seconds)

    engine = KnownTimeEngine(model, FIXED_S, FRAME_S, wait)
    costs = constant_costs(FIXED_S, FRAME_S, model.shape.blocks)
    config = CloudConfig(waiting_total=16)
    with Cloud(model, make_profile(1e-5, model="small"), engine=engine, config=config, costs=costs) as cloud:
        yield cloud


@pytest.fixture
def transport(cloud):
    transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7))
    yield transport
    transport.close()


def own_channels(cloud, count):
    """Channels that share no connection: on this machine each is another client."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return [grpc.insecure_channel(f"127.0.0.1:{cloud.port}", options) for _ in range(count)]


def send(channel, request):
    return channel.stream_unary(INFER).future(iter([serialise_request(request)]), timeout=PATIENCE_S)


def codes_of(calls):
    return Counter(call.exception().code().name if call.exception() else "OK" for call in calls)


def test_a_flood_of_one_device_is_refused_and_the_others_are_served(model, cloud, transport, gate):
    honest = image_request(model, device="honest")
    with grpc.insecure_channel(f"127.0.0.1:{cloud.port}") as channel, ThreadPoolExecutor(1) as pool:
        gate.clear()
        flood = [send(channel, image_request(model, device="flood")) for _ in range(40)]
        wait_until(lambda: sum(call.done() for call in flood) == 40 - OF_ONE_CLIENT)
        served = pool.submit(transport.infer, honest, PATIENCE_S)
        wait_until(lambda: cloud.load().waiting == OF_ONE_CLIENT + 1)
        gate.set()
        assert served.result().answer.classes
        codes = codes_of(flood)
        assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}  # gRPC may refuse what comes too fast
        assert codes["OK"] == OF_ONE_CLIENT < codes["RESOURCE_EXHAUSTED"]
        flood = [send(channel, image_request(model, device="flood")) for _ in range(100)]
        for _ in range(5):
            assert transport.infer(honest, PATIENCE_S).answer.classes
        assert set(codes_of(flood)) <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}  # cut after too many calls


def test_many_devices_cannot_push_out_one_with_a_single_request(model, cloud, transport):
    channels = own_channels(cloud, 4)
    crowd = [send(channels[number % 4], image_request(model)) for number in range(16)]
    assert transport.infer(image_request(model), PATIENCE_S).answer.classes
    for call in crowd:
        call.exception()
    for channel in channels:
        channel.close()


def test_devices_that_hang_up_in_the_middle_of_a_batch_leave_the_others_their_answers(model, cloud, transport):
    channels = own_channels(cloud, 12)
    for _ in range(3):
        gone, stays = (
            [send(channel, image_request(model)) for channel in half] for half in (channels[:6], channels[6:])
        )
        for call in gone:
            call.cancel()
        assert all(call.exception() is None for call in stays)
    for channel in channels:
        channel.close()
    assert transport.infer(image_request(model), PATIENCE_S).answer.classes
    assert cloud.load().waiting == 0


def test_a_block_that_is_no_entry_point_is_served_all_the_same(model, cloud, transport):
    assert transport.hello(PATIENCE_S).entry_blocks == (0, 2, 4, 6)
    odd = token_request(model, split=3, merges=(1, 0, 0))
    assert transport.infer(odd, PATIENCE_S).answer.classes


def test_a_block_that_does_not_exist_is_refused_by_field(model, transport):
    with pytest.raises(Rejected, match="field split is 7"):
        transport.infer(token_request(model, split=7, merges=()), PATIENCE_S)


def test_a_deadline_that_cannot_be_met_is_refused_at_once_with_the_wait(model, transport):
    with pytest.raises(Rejected, match="cannot answer in time: expected wait") as refused:
        transport.infer(image_request(model, time_left_s=0.005), PATIENCE_S)
    assert refused.value.expected_wait_s >= 0
