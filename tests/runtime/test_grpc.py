"""A real server on loopback: handshake, answers, several devices, and clients that send garbage."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from cloud_requests import image_request, token_request
from patience import PATIENCE_S

from janus_vit.cloud.loop import EngineLoop
from janus_vit.cloud.server import Cloud
from janus_vit.errors import InputError, ModelMismatch, Overloaded, Rejected, Unreachable
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.connect import connect
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.messages import Greeting, serialise_greeting, serialise_request
from janus_vit.wire.rpc import HELLO, INFER, PROBE, SERVICE


@pytest.fixture
def profile(make_profile):
    return make_profile(1e-5, model="small")


@pytest.fixture
def cloud(model, profile):
    with Cloud(model, profile, engine="eager") as cloud:
        yield cloud


@pytest.fixture
def address(cloud):
    return f"127.0.0.1:{cloud.port}"


@pytest.fixture
def transport(model, address):
    transport = GrpcTransport(address, Outputs(7))
    yield transport
    transport.close()


def test_stream_over_loopback_answers_as_the_device_alone(model, engine, address, profile, frames):
    device = connect(model, address, profile, sla_s=PATIENCE_S, policy="cloud-only")
    alone = connect(model, address, profile, sla_s=PATIENCE_S, policy="device-only")
    try:
        for frame in frames:
            there, here = device.infer(frame), alone.infer(frame)
            assert there.fallback is None
            assert there.answer.classes == here.answer.classes
            np.testing.assert_allclose(there.answer.probabilities, here.answer.probabilities, rtol=1e-4)
            parts = there.measured
            assert 0 < parts.cloud_s < parts.total_s
            assert 0 <= parts.send_s + parts.rtt_s <= parts.total_s
    finally:
        device.close()
        alone.close()


def test_a_call_that_ends_well_without_a_reply_counts_as_unreachable(model, transport, monkeypatch):
    monkeypatch.setattr(transport, "_infer", lambda *_, **__: None)  # gRPC, if bytes were changed on the way
    with pytest.raises(Unreachable, match="without a reply"):
        transport.infer(image_request(model), PATIENCE_S)


def test_every_kind_of_model_answers_over_loopback_as_the_device_alone(any_model, profile, frames):
    picture = frames[0] if any_model.preprocessing.frames == 1 else np.stack(frames)
    with Cloud(any_model, profile) as cloud:
        address = f"127.0.0.1:{cloud.port}"
        with (
            connect(any_model, address, profile, sla_s=PATIENCE_S, policy="cloud-only") as device,
            connect(any_model, address, profile, sla_s=PATIENCE_S, policy="device-only") as alone,
        ):
            there, here = device.infer(picture), alone.infer(picture)
    assert there.fallback is None
    assert there.answer.classes == here.answer.classes
    assert len(there.answer.vector) == (any_model.network.output_width if any_model.task == "embed" else 0)
    np.testing.assert_allclose(there.answer.vector, here.answer.vector, atol=1e-5)
    assert here.answer.classes or np.linalg.norm(here.answer.vector) == pytest.approx(1.0, rel=1e-5)


def test_several_devices_share_one_cloud(model, address, profile, frames):
    def stream(index):
        device = connect(model, address, profile, sla_s=PATIENCE_S, policy="cloud-jpeg", name=f"device {index}")
        try:
            return [device.infer(frame).fallback for frame in frames * 3]
        finally:
            device.close()

    with ThreadPoolExecutor(6) as pool:
        assert all(fallbacks == [None] * 12 for fallbacks in pool.map(stream, range(6)))


def test_no_frame_is_lost_when_the_cloud_stops_midway(model, profile, frames):
    cloud = Cloud(model, profile, engine="eager")
    device = connect(model, f"127.0.0.1:{cloud.port}", profile, sla_s=PATIENCE_S, policy="cloud-only")
    assert device.infer(frames[0]).fallback is None
    cloud.close()
    stopped = [device.infer(frame) for frame in frames]
    device.close()
    assert all(outcome.fallback.startswith("Unreachable") for outcome in stopped)
    assert all(outcome.answer.classes for outcome in stopped)


def test_handshake_refuses_another_model(any_model, address, profile, model):
    if any_model.fingerprint == model.fingerprint:
        return
    with pytest.raises(ModelMismatch, match="same --model"):
        connect(any_model, address, profile)


def test_port_without_a_cloud_is_refused_in_one_sentence(model, profile):
    with pytest.raises(InputError, match="no janus-vit cloud answers"):
        connect(model, "127.0.0.1:9", profile, DeviceConfig(hello_timeout_s=0.3))


NO_PORT = ["localhost", "host:", ":50051", "host:0", "host:99999", "host:x", "host:²"]
NO_HOST = ["http://host:50051", "::1:50051", "[::1:50051", "my host:50051", "host:50051/", "host:50051\n"]


@pytest.mark.parametrize("address", [*NO_PORT, *NO_HOST])
def test_address_without_host_or_port_is_refused(address):
    with pytest.raises(InputError, match="HOST:PORT"):
        GrpcTransport(address, Outputs(7))


@pytest.mark.parametrize(
    "address", ["localhost:1", "10.0.0.5:50051", "[::1]:50051", "[fe80::1%eth0]:65535", "a_b.c-d:80"]
)
def test_address_of_a_host_and_a_port_is_taken(address):
    GrpcTransport(address, Outputs(7)).close()


def test_port_in_use_is_refused(model, profile, cloud):
    with pytest.raises(InputError, match="cannot listen"):
        Cloud(model, profile, f"127.0.0.1:{cloud.port}")


BAD_REQUESTS = {
    "fingerprint": (token_request, {"fingerprint": "0" * 16}, "FAILED_PRECONDITION"),
    "payload": (token_request, {"payload": "float5"}, "INVALID_ARGUMENT"),
    "image at a split": (token_request, {"payload": "jpeg90"}, "INVALID_ARGUMENT"),
    "tokens without a split": (image_request, {"payload": "int8"}, "INVALID_ARGUMENT"),
    "split": (token_request, {"split": 7}, "INVALID_ARGUMENT"),
    "merges too few": (token_request, {"merges": (1,)}, "INVALID_ARGUMENT"),
    "merges too large": (token_request, {"merges": (9, 0, 0, 0)}, "INVALID_ARGUMENT"),
    "tokens": (token_request, {"tokens": 4_000_000_000}, "INVALID_ARGUMENT"),
    "no tokens": (token_request, {"tokens": 1}, "INVALID_ARGUMENT"),
    "width": (token_request, {"width": 25}, "INVALID_ARGUMENT"),
    "time": (token_request, {"time_left_s": float("nan")}, "INVALID_ARGUMENT"),
    "no time": (token_request, {"time_left_s": 0.0}, "INVALID_ARGUMENT"),
    "device that cannot be printed": (token_request, {"device": "a\x1b[2J"}, "INVALID_ARGUMENT"),
    "in time later than needed": (token_request, {"in_time_s": PATIENCE_S + 1}, "INVALID_ARGUMENT"),
    "device": (token_request, {"device": "x" * 65}, "INVALID_ARGUMENT"),
    "body cut": (token_request, {"body": b"123"}, "INVALID_ARGUMENT"),
    "no body": (image_request, {"body": b""}, "INVALID_ARGUMENT"),
    "not an image": (image_request, {"payload": "png", "body": b"GIF89a"}, "INVALID_ARGUMENT"),
    "NaN scales": (token_request, {"body": b"\x01\x00" * 17 + b"\xff" * 17 * 28}, "INVALID_ARGUMENT"),
    "NaN pixels": (image_request, {"body": b"\xff" * 4 * 3 * 32 * 32}, "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_request_gets_a_status_and_the_stream_continues(model, transport, case):
    make, changes, status = BAD_REQUESTS[case]
    with pytest.raises(Rejected) as refused:
        transport.infer(make(model, **changes), PATIENCE_S)
    assert refused.value.__cause__.code().name == status
    assert transport.infer(make(model), PATIENCE_S).answer.classes


def raw(address, method, message):
    with grpc.insecure_channel(address, [("grpc.max_send_message_length", -1)]) as channel:
        call = channel.stream_unary(method)
        return call(iter([message] if message is not None else []), timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"\xff\xff\xff", "INVALID_ARGUMENT"),
        (b"", "INVALID_ARGUMENT"),
        (None, "INVALID_ARGUMENT"),
        (pb.InferRequest(wire_version=2).SerializeToString(), "INVALID_ARGUMENT"),
        (bytes(20_000_000), "RESOURCE_EXHAUSTED"),
    ],
)
def test_garbage_and_oversized_messages_get_a_status(model, address, transport, message, status):
    for method in (INFER, PROBE):
        if method == PROBE and message is not None and not message.startswith((b"\xff", b"\x00")):
            continue  # an empty probe is valid
        with pytest.raises(grpc.RpcError) as refused:
            raw(address, method, message)
        assert refused.value.code().name == status
    assert transport.infer(image_request(model), PATIENCE_S).answer.classes


def test_server_survives_random_damage(model, address, transport):
    rng = np.random.default_rng(0)
    good = serialise_request(token_request(model))
    statuses = set()
    for _ in range(12):  # a single caller that sends nothing else would be refused
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.stream_unary(INFER)
            for _ in range(12):
                damaged = bytearray(good)
                for position in rng.integers(0, len(damaged), 3):
                    damaged[position] = int(rng.integers(0, 256))
                try:
                    call(iter([bytes(damaged[: int(rng.integers(1, len(damaged) + 1))])]), timeout=PATIENCE_S)
                except grpc.RpcError as error:
                    statuses.add(error.code().name)
    assert statuses <= {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "DEADLINE_EXCEEDED"}
    assert transport.infer(token_request(model), PATIENCE_S).answer.classes


def test_link_is_measured_without_a_frame(transport):
    seen = transport.probe(100_000, PATIENCE_S).result(timeout=PATIENCE_S).transfer
    assert seen.delivered
    assert seen.size_bytes == 100_000
    assert seen.send_s >= 0
    assert seen.rtt_s > 0


def test_every_transport_has_its_own_connection():
    peers = []

    def hello(request, context):
        peers.append(context.peer())
        return serialise_greeting(Greeting("small", "fingerprint", "{}"))

    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {HELLO.rsplit("/", 1)[1]: grpc.unary_unary_rpc_method_handler(hello)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    transports = [GrpcTransport(address, Outputs(7)) for _ in range(2)]
    for transport in transports:
        transport.hello(PATIENCE_S)
    for transport in transports:
        transport.close()
    server.stop(None).wait()
    assert len(set(peers)) == 2


def test_a_refusal_tells_the_expected_wait_and_the_device_believes_it(model, profile, frames, monkeypatch):
    def refuse(self, job):
        raise Overloaded("cannot answer in time", PATIENCE_S / 2)

    with (
        Cloud(model, profile, engine="eager") as cloud,
        connect(model, f"127.0.0.1:{cloud.port}", profile, sla_s=PATIENCE_S, policy="cloud-only") as device,
    ):
        monkeypatch.setattr(EngineLoop, "check", refuse)
        outcome = device.infer(frames[0])
        assert outcome.fallback.startswith("Overloaded")
        assert outcome.answer.classes
        assert 0 < device.infer(frames[1]).predicted.queue_s <= PATIENCE_S / 2
