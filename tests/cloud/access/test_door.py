"""A running cloud and clients that idle, stop in the middle of a message, lie about sizes, or flood."""

import socket
import struct
import time
from contextlib import ExitStack
from functools import partial

import grpc
import pytest
from cloud_requests import image_request, token_request
from grpc_health.v1 import health_pb2, health_pb2_grpc
from patience import PATIENCE_S

from janus_vit.cloud.access import limits, memory, roster
from janus_vit.cloud.access.door import Door
from janus_vit.cloud.access.limits import Ledger, Limits
from janus_vit.cloud.access.memory import limits_of_strangers
from janus_vit.cloud.access.settings import Access, Gate
from janus_vit.cloud.access.tokens import hash_line, new_token
from janus_vit.cloud.server import Cloud
from janus_vit.errors import Rejected
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.scheduling.config import CloudConfig
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.messages import HEADER_BYTES, serialise_request
from janus_vit.wire.rpc import HELLO, INFER, MESSAGE_BYTES, PROBE, SERVICE

OWN = [("grpc.use_local_subchannel_pool", 1)]
HONEST, INSIDER = new_token(), new_token()


@pytest.fixture
def cloud(model, make_profile, tmp_path, monkeypatch):
    monkeypatch.setattr(roster, "_STRIKES", 20.0)
    monkeypatch.setattr(roster, "_HELD_S", 0.1)
    tokens = tmp_path / "tokens.txt"
    tokens.write_text(f"{hash_line('honest', HONEST)}\n{hash_line('insider', INSIDER)}\n")
    config = CloudConfig(calls_at_once=24, calls_per_client=12)
    profile = make_profile(1e-5, model="small")
    with Cloud(model, profile, engine="eager", config=config, access=Access(tokens=tokens)) as cloud:
        yield cloud


@pytest.fixture
def honest(cloud):
    transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7), token=HONEST)
    yield transport
    transport.close()


class AnyCall:
    """gRPC's context of a call on a connection of its own."""

    def __init__(self, port):
        self._port = port

    def peer(self):
        return f"ipv4:127.0.0.1:{self._port}"

    def invocation_metadata(self):
        return ()


def channel_to(cloud):
    return grpc.insecure_channel(f"127.0.0.1:{cloud.port}", OWN)


def metadata(token, **more):
    return (("authorization", f"Bearer {token}"), *more.items())


def never():
    """A stream of requests that never sends one."""
    time.sleep(20.0)
    yield b""


def code_of(call):
    return call.exception().code().name


def test_idle_streams_of_one_client_leave_room_for_others_and_end_soon(model, cloud, honest, monkeypatch):
    monkeypatch.setattr(limits, "_SLACK_S", 1.0)
    channels = [channel_to(cloud) for _ in range(4)]
    method = [channel.stream_unary(INFER) for channel in channels]
    idle = [method[i % 4].future(never(), timeout=PATIENCE_S, metadata=metadata(INSIDER)) for i in range(24)]
    assert honest.infer(image_request(model), PATIENCE_S).answer.classes
    codes = [code_of(call) for call in idle]
    assert set(codes) == {"RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"}  # refused at once, or cut after their time
    assert codes.count("INVALID_ARGUMENT") <= 12
    assert honest.infer(image_request(model), PATIENCE_S).answer.classes
    for channel in channels:
        channel.close()


def test_a_message_may_be_no_larger_than_its_call_announced(model, cloud, honest):
    message = serialise_request(token_request(model))
    with channel_to(cloud) as channel:
        for announced, says in (("10", "announced 10"), ("-1", "expected a number"), ("999999999", "expected at most")):
            call = channel.stream_unary(INFER).future(
                iter([message]), timeout=PATIENCE_S, metadata=metadata(INSIDER, **{MESSAGE_BYTES: announced})
            )
            assert code_of(call) == "INVALID_ARGUMENT"
            assert says in call.exception().details()
        call = channel.stream_unary(INFER).future(iter([message]), timeout=PATIENCE_S, metadata=metadata(INSIDER))
        assert call.exception() is None  # an older device announces nothing


def test_a_flood_without_a_token_is_cut_off_and_a_connected_device_of_the_same_address_notices_nothing(
    model, cloud, honest, monkeypatch
):
    monkeypatch.setattr(roster, "_FADES_S", 1e3)  # strikes fade with the time
    assert honest.infer(image_request(model), PATIENCE_S).answer.classes
    codes = []
    for _ in range(3):
        with channel_to(cloud) as channel:
            calls = [channel.stream_unary(PROBE).future(iter([b""]), timeout=PATIENCE_S) for _ in range(60)]
            codes += [code_of(call) for call in calls]
    assert "UNAUTHENTICATED" in codes
    assert "UNAVAILABLE" in codes  # its connections were cut
    assert honest.infer(image_request(model), PATIENCE_S).answer.classes


def test_a_flood_of_one_device_is_refused_whatever_names_it_claims(model, cloud, honest):
    with channel_to(cloud) as channel:
        messages = [serialise_request(image_request(model, device=f"name {number}")) for number in range(60)]
        flood = [
            channel.stream_unary(INFER).future(iter([each]), timeout=PATIENCE_S, metadata=metadata(INSIDER))
            for each in messages
        ]
        for _ in range(5):
            assert honest.infer(image_request(model, device="honest"), PATIENCE_S).answer.classes
        for call in flood:
            call.exception()


def test_a_stranger_that_sends_nothing_is_cut(request, monkeypatch):
    monkeypatch.setattr(memory, "ConnectionLimits", partial(memory.ConnectionLimits, stranger_s=0.3))
    cloud = request.getfixturevalue("cloud")
    with socket.create_connection(("127.0.0.1", cloud.port)) as silent:
        silent.settimeout(PATIENCE_S)
        while silent.recv(4_096):  # settings of HTTP/2 come first
            pass


def test_health_checks_need_no_token_and_watching_does(cloud):
    with channel_to(cloud) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status == serving
        with pytest.raises(grpc.RpcError) as refused:
            health.Check(health_pb2.HealthCheckRequest(service="none"), timeout=PATIENCE_S)
        assert refused.value.code().name == "NOT_FOUND"
        with pytest.raises(grpc.RpcError) as refused:
            next(health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S))
        assert refused.value.code().name == "UNAUTHENTICATED"
        watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S, metadata=metadata(HONEST))
        assert next(watched).status == serving


def test_a_watcher_that_reads_nothing_keeps_neither_others_nor_the_end_of_the_cloud_waiting(cloud, caplog):
    health = "/grpc.health.v1.Health"
    with socket.create_connection(("127.0.0.1", cloud.port)) as deaf, channel_to(cloud) as channel:
        opened_call(deaf, f"{health}/Watch".encode(), flags=4, settings=struct.pack(">HI", 4, 0))  # window of 0 bytes
        deaf.sendall(packet(0, 1, 1, bytes(5)))
        read_until(deaf, b"grpc-accept-encoding")  # the headers of the answer
        stub = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S, metadata=metadata(HONEST))
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        cloud.drain()
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        checked = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE_S)
        assert checked.status == health_pb2.HealthCheckResponse.NOT_SERVING
    cloud.close()
    assert caplog.messages == []  # also of the one that hung up


def test_health_checks_of_strangers_take_no_calls_and_no_memory_from_devices():
    devices = Ledger(
        Limits(calls=2, calls_per_client=2, calls_per_s=9.0, memory_bytes=4_000, memory_per_client_bytes=4_000)
    )
    strangers = Ledger(limits_of_strangers(memory.limits_of(CloudConfig(), 1_000)[0], 1_000))
    door = Door(Gate(Access()), devices, strangers, roster.Roster(), 1_000, lambda: None)
    with ExitStack() as open_calls:
        for port in range(1_000, 1_064):
            open_calls.enter_context(door.enter(AnyCall(port), HEADER_BYTES, known=False))
        with pytest.raises(Rejected, match="too many requests in flight"):
            open_calls.enter_context(door.enter(AnyCall(999), HEADER_BYTES, known=False))
        for port in (1, 2):
            open_calls.enter_context(door.enter(AnyCall(port), 500))
    with door.enter(AnyCall(3), HEADER_BYTES, known=False):
        pass


def test_a_method_that_does_not_exist_is_refused(cloud):
    with channel_to(cloud) as channel:
        call = channel.unary_unary("/janus.v1.Janus/Shell").future(b"", timeout=PATIENCE_S, metadata=metadata(HONEST))
        assert code_of(call) == "INVALID_ARGUMENT"


def test_a_message_that_is_too_large_is_refused_and_writes_no_traceback(cloud, honest, caplog):
    with channel_to(cloud) as channel:
        checks = channel.stream_unary("/grpc.health.v1.Health/Check")
        calls = [checks.future(iter([bytes(3_000_000)]), timeout=PATIENCE_S) for _ in range(4)]
        assert {code_of(call) for call in calls} == {"RESOURCE_EXHAUSTED"}
    assert honest.hello(PATIENCE_S).model == "small"
    cloud.close()
    assert caplog.messages == []


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_message_that_was_compressed_is_not_unpacked(cloud, honest, caplog, compression):
    with grpc.insecure_channel(f"127.0.0.1:{cloud.port}", OWN, compression=compression) as channel:
        for method in ("/grpc.health.v1.Health/Check", INFER, PROBE):
            call = channel.stream_unary(method).future(
                iter([bytes(3_000_000)]), timeout=PATIENCE_S, metadata=metadata(INSIDER)
            )
            assert code_of(call) == "INVALID_ARGUMENT"
            assert "not a" in call.exception().details()
    assert honest.hello(PATIENCE_S).model == "small"
    cloud.close()
    assert caplog.messages == []


def packet(kind, flags, stream, payload):
    """A packet of raw HTTP/2, since gRPC's client sends whole messages and right names."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def opened_call(connection, path, flags, settings=b""):
    """Begin HTTP/2 and a call on a connection."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"cloud",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        b"authorization": f"Bearer {INSIDER}".encode(),
    }
    headers = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields.items()
    )
    connection.settimeout(PATIENCE_S)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + packet(4, 0, 0, settings) + packet(1, flags, 1, headers))


def read_until(connection, words):
    received = b""
    while words not in received:
        data = connection.recv(4_096)
        assert data, "closed without a word"
        received += data


def test_a_half_sent_greeting_ends_soon(cloud, monkeypatch):
    monkeypatch.setattr(limits, "_SLACK_S", 0.2)
    with socket.create_connection(("127.0.0.1", cloud.port)) as half:
        opened_call(half, HELLO.encode(), flags=4)
        half.sendall(packet(0, 0, 1, b"\0" + struct.pack(">I", 100) + bytes(50)))
        read_until(half, b"did not arrive within")


@pytest.mark.parametrize("path", [b"/janus\xc1/Infer", b"/\xff", b"\xfe\xff" * 40, b"/janus.v1.Janus/\x80"])
def test_a_method_whose_name_is_no_text_is_refused_and_the_cloud_goes_on(model, cloud, honest, path):
    with socket.create_connection(("127.0.0.1", cloud.port)) as odd:
        opened_call(odd, path, flags=5)
        read_until(odd, b"this method does not exist")
    assert honest.infer(image_request(model), PATIENCE_S).answer.classes
