"""What happens to a device's call in Ray Serve's proxy. Ray's part is played by functions; the calls are real."""

import asyncio
import threading
import time
from dataclasses import replace

import grpc
import pytest
from cloud_requests import image_request
from patience import PATIENCE_S

from janus_vit.cloud.in_process import local_service
from janus_vit.cloud.ray.messages import ReplicaAnswer, ReplicaCall
from janus_vit.cloud.ray.proxy import APPLICATION, add_janus_service
from janus_vit.cloud.ray.replica import Replica
from janus_vit.cloud.rpc.calls import CallResult
from janus_vit.errors import DeadlineExceeded, Overloaded, Rejected, Unreachable
from janus_vit.planning.outcome import Answer
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.wire.messages import Outputs, Reply, parse_request, serialise_reply
from janus_vit.wire.rpc import HELLO, INFER

LARGEST_NUMBER_BYTES = 11  # of a probe that reaches a replica: its number alone
ANSWER = Reply(Answer((1,), (0.5,)), 0.0, 0.0, 0.0, 0.0, 0.0)


class RayServer:
    """The server of Ray's proxy: replaces every handler by one that calls `replica`, and serves until the end."""

    def __init__(self, replica):
        self.replica = replica
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)

    def add_generic_rpc_handlers(self, handlers):
        routed = {
            path: handler._replace(response_serializer=None, unary_unary=self.replica)
            for path, handler in handlers[0]._method_handlers.items()
        }
        handlers[0]._method_handlers = routed
        self._server.add_generic_rpc_handlers(handlers)

    async def _serve(self):
        self._server = grpc.aio.server()
        add_janus_service(Replica, self)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self._ready.set()
        await self._stop.wait()
        await self._server.stop(None)

    def close(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def ask():
    """Send requests to a proxy whose replicas are played by a function."""
    opened = []

    def connected(replica):
        server = RayServer(replica)
        transport = GrpcTransport(f"127.0.0.1:{server.port}", Outputs(7))
        opened.extend([transport, server])
        return transport

    yield connected
    for each in opened:
        each.close()


def dies(context, code=grpc.StatusCode.INTERNAL):
    """What Ray Serve does when a replica dies."""
    context.set_code(code)
    context.set_details("The actor died unexpectedly before finishing this task.\n\tpid: 7")
    return b""


def answers(call):
    return ReplicaAnswer(CallResult(serialise_reply(replace(ANSWER, receive_s=call.receive_s)))).SerializeToString()


def test_a_replica_gets_the_message_and_how_long_it_took_and_the_time_that_is_left(model, ask):
    calls = []

    async def replica(call, context):
        calls.append(call)
        return answers(call)

    request = image_request(model)
    reply = ask(replica).infer(request, PATIENCE_S)
    assert reply.answer == ANSWER.answer
    (call,) = calls
    sent = parse_request(call.message)
    assert sent == replace(request, number=sent.number)
    assert 0 <= call.receive_s == reply.receive_s < PATIENCE_S
    assert 0 < call.left_s < PATIENCE_S + 0.1  # gRPC rounds deadlines up


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED])
def test_another_replica_answers_if_the_first_one_dies(model, ask, code):
    calls = []

    async def replica(call, context):
        calls.append(call)
        return dies(context, code) if len(calls) == 1 else answers(call)

    assert ask(replica).infer(image_request(model), PATIENCE_S).answer == ANSWER.answer
    first, second = calls
    assert second.message == first.message
    assert second.receive_s == first.receive_s
    assert second.left_s < first.left_s


def test_two_deaths_end_the_request(model, ask):
    calls = []

    async def replica(call, context):
        calls.append(call)
        return dies(context)

    with pytest.raises(Unreachable, match="two replicas died while they worked on this request"):
        ask(replica).infer(image_request(model), PATIENCE_S)
    assert len(calls) == 2


def test_no_second_replica_is_asked_without_time(model, ask):
    calls = []

    async def replica(call, context):
        calls.append(call)
        while context.time_remaining() > 0:
            await asyncio.sleep(0.01)
        return dies(context)

    transport = ask(replica)
    for seconds in (0.1, 1.0, 10.0):  # until one of them reaches the replica
        with pytest.raises(DeadlineExceeded):
            transport.infer(image_request(model), seconds)
        if calls:
            break
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        (grpc.StatusCode.NOT_FOUND, Unreachable, "runs no application 'janus-vit'"),
        (grpc.StatusCode.UNAVAILABLE, Unreachable, "no replica of the cloud can be started"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Rejected, "too many requests wait for a replica"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded, "did not answer in time"),
    ],
)
def test_what_ray_serve_reports_reaches_the_device_at_once(model, ask, code, error, says):
    calls = []

    async def replica(call, context):
        calls.append(call)
        context.set_code(code)
        context.set_details("a traceback of Ray")
        return b""

    with pytest.raises(error, match=says):
        ask(replica).infer(image_request(model), PATIENCE_S)
    assert len(calls) == 1


def test_a_device_cannot_choose_the_application(ask):
    seen = []

    async def replica(call, context):
        seen.append(context.invocation_metadata())
        return answers(call)

    with grpc.insecure_channel(ask(replica)._address) as channel:
        channel.unary_unary(HELLO)(b"", timeout=PATIENCE_S, metadata=[("application", "other"), ("session_id", "7")])
    assert seen == [(("application", APPLICATION),)]


def test_a_replica_that_is_asked_in_vain_is_told(model, ask):
    called, cancelled = threading.Event(), threading.Event()

    async def replica(call, context):
        called.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:  # Ray Serve cancels the replica's coroutine, and catches the error
            cancelled.set()
        context.set_code(grpc.StatusCode.CANCELLED)
        return b""

    transport = ask(replica)
    for seconds in (0.1, 1.0, 10.0):  # until one of them reaches the replica
        with pytest.raises(DeadlineExceeded):
            transport.infer(image_request(model), seconds)
        if called.is_set():
            break
    assert cancelled.wait(PATIENCE_S)


@pytest.fixture
def replica(model, engine, make_profile):
    """A replica with a real service, called in the proxy's process."""
    service = local_service(model, engine, make_profile(1e-3, model="small"))
    held = Replica(lambda: service)
    methods = {"Hello": held.Hello, "Infer": held.Infer, "Probe": held.Probe}

    async def call(call, context):
        return (await methods[held_method(call)](call)).SerializeToString()

    def held_method(call):
        return "Hello" if not call.message else "Probe" if len(call.message) <= LARGEST_NUMBER_BYTES else "Infer"

    yield call
    service.close()


def test_refusals_of_a_replica_are_those_of_our_own_server(model, ask, replica):
    transport = ask(replica)
    assert transport.hello(PATIENCE_S).fingerprint == model.fingerprint
    assert transport.infer(image_request(model), PATIENCE_S).answer.classes
    with pytest.raises(Overloaded, match="resource_exhausted") as refusal:
        transport.infer(image_request(model, time_left_s=1e-3), PATIENCE_S)
    assert refusal.value.expected_wait_s >= 0
    assert refusal.value.price is not None
    with pytest.raises(Rejected, match=r"failed_precondition.*start both sides with the same model"):
        transport.infer(image_request(model, fingerprint="other"), PATIENCE_S)
    with pytest.raises(Rejected, match=r"invalid_argument.*field merges"):
        transport.infer(image_request(model, merges=(1,)), PATIENCE_S)


def test_a_probe_is_timed_by_the_proxy_and_told_the_load(ask, replica):
    probed = ask(replica).probe(64_000, PATIENCE_S).result()
    assert probed.transfer.delivered
    assert probed.load is not None


def test_what_is_not_a_request_gets_a_sentence(ask, replica):
    with grpc.insecure_channel(ask(replica)._address) as channel:
        call = channel.stream_unary(INFER)
        with pytest.raises(grpc.RpcError) as error:
            call(iter([b"nothing"]), timeout=PATIENCE_S)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError, match="has no deadline within 60 s"):
            call(iter([b"nothing"]))


def test_a_bug_in_a_replica_keeps_its_details(model, ask):
    class Broken:
        async def infer(self, message, receive_s, left_s, call):
            raise ValueError("secret")

    held = Replica.__new__(Replica)
    held._answers = Broken()

    async def replica(call, context):
        return (await held.Infer(call)).SerializeToString()

    with pytest.raises(Rejected, match=r"\(internal\): the cloud failed on this request; its log says why"):
        ask(replica).infer(image_request(model), PATIENCE_S)


def test_a_replica_counts_the_time_that_the_call_took_from_the_proxy_and_as_much_for_the_way_back(monkeypatch):
    call = ReplicaCall(b"", 0.0, left_s=1.0)
    monkeypatch.setattr(time, "perf_counter", lambda: call.sent_s + 0.1)
    assert call.left_here_s == pytest.approx(0.8)
    assert replace(call, clock="another machine").left_here_s == 1.0
    assert replace(call, clock="").left_here_s == 1.0


def test_a_replica_answers_no_call_whose_time_has_passed(model, ask):
    held = Replica.__new__(Replica)
    held._answers = None

    async def replica(call, context):
        return (await held.Infer(replace(call, sent_s=call.sent_s - PATIENCE_S))).SerializeToString()

    with pytest.raises(DeadlineExceeded):
        ask(replica).infer(image_request(model), PATIENCE_S)
