"""A cloud that lies cannot mislead a device: what cannot be is refused by field, and the frame is finished here."""

import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from cloud_requests import image_request
from patience import PATIENCE_S

from janus_vit.errors import InputError, JanusError, TooMany, WireError
from janus_vit.records.summary import Tally
from janus_vit.runtime.connect import connect
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.messages import Greeting, serialise_greeting
from janus_vit.wire.rpc import EXPECTED_WAIT, HELLO, INFER, PRICE, PROBE, SERVICE

HONEST = {"classes": [3, 1], "probabilities": [0.6, 0.3]}


class LyingCloud:
    """Answers every call with the message that a test wants."""

    def __init__(self, greeting):
        self.greeting = serialise_greeting(greeting)
        self.reply = pb.InferReply(**HONEST)
        self.probe = pb.ProbeReply()
        self.refusal = None
        self.trailers = ()
        self.compression = grpc.Compression.NoCompression
        self.number = lambda number: 0  # of the reply to a request or probe of that number
        self._server = grpc.server(ThreadPoolExecutor(2))
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_unary_rpc_method_handler
        handlers = {HELLO: unary(self._hello), INFER: stream(self._infer), PROBE: stream(self._probe)}
        named = {path.rsplit("/", 1)[1]: handler for path, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, named),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self):
        self._server.stop(None).wait()

    def _hello(self, request, context):
        return self.greeting

    def _infer(self, requests, context):
        (request,) = requests
        if self.refusal is not None:
            context.set_trailing_metadata(self.trailers)
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, self.refusal)
        context.set_compression(self.compression)
        self.reply.number = self.number(pb.InferRequest.FromString(request).number)
        return self.reply.SerializeToString()

    def _probe(self, requests, context):
        (request,) = requests
        self.probe.number = self.number(pb.ProbeRequest.FromString(request).number)
        return self.probe.SerializeToString()


@pytest.fixture
def profile(make_profile):
    return make_profile(1e-5, model="small")


@pytest.fixture
def cloud(model, profile):
    cloud = LyingCloud(Greeting("small", model.fingerprint, profile.to_json()))
    yield cloud
    cloud.close()


@pytest.fixture
def device(model, cloud, profile):
    with connect(model, cloud.address, profile, sla_s=PATIENCE_S, policy="cloud-only", name="device") as device:
        yield device


def test_an_honest_reply_is_taken(cloud, device, frames):
    assert device.infer(frames[0]).answer.classes == (3, 1)


@pytest.mark.parametrize(
    ("lie", "field"),
    [
        ({"probabilities": [1.0, 1.0]}, "probabilities"),
        ({"probabilities": [0.0, 0.0]}, "probabilities"),
        ({"probabilities": [0.3, 0.6]}, "probabilities"),
        ({"probabilities": [float("nan"), 0.1]}, "probabilities"),
        ({"classes": [3, 3]}, "classes"),
        ({"classes": [3, 7]}, "classes"),
        ({"classes": [3] * 200_000, "probabilities": [0.1] * 200_000}, "classes"),
        ({"vector": [1.0]}, "vector"),
        ({"receive_s": 1e308}, "receive_s"),
        ({"compute_s": 3600.0}, "receive_s"),
        ({"queue_s": -1.0}, "queue_s"),
        ({"decode_s": float("inf")}, "decode_s"),
    ],
)
def test_a_reply_that_cannot_be_is_refused_and_counted_and_the_frame_is_finished_here(
    model, cloud, device, frames, lie, field
):
    tally = Tally()
    cloud.reply = pb.InferReply(**(HONEST | lie))
    for frame in frames:
        outcome = device.infer(frame)
        assert outcome.fallback.startswith(f"WireError: field {field} ")
        assert len(outcome.fallback) < 200
        assert outcome.answer.classes != (3, 1) or outcome.answer.probabilities != (0.6, 0.3)
        tally.add(outcome)
    assert tally.summary().fallbacks == tally.summary().refused_replies == len(frames)
    cloud.reply = pb.InferReply(**HONEST)
    assert device.infer(frames[0]).answer.classes == (3, 1)


def test_a_reply_of_megabytes_is_not_even_parsed(cloud, device, frames):
    cloud.reply = pb.InferReply(classes=[3] * 2_000_000, probabilities=[0.1] * 500_000)
    outcome = device.infer(frames[0])
    assert outcome.fallback.startswith("Rejected: ")
    assert "larger than max" in outcome.fallback


def test_a_reply_that_was_compressed_is_not_unpacked(cloud, device, frames):
    cloud.reply = pb.InferReply(classes=[3] * 2_000_000, probabilities=[0.1] * 500_000)
    cloud.compression = grpc.Compression.Gzip
    assert device.infer(frames[0]).fallback.startswith("WireError: not a janus.v1 InferReply message")


@pytest.mark.parametrize("receive_s", [3600.0, 1e308, -1.0, float("nan")])
def test_a_probe_that_took_longer_than_its_call_says_nothing_about_the_link(cloud, receive_s):
    cloud.probe = pb.ProbeReply(receive_s=receive_s)
    transport = GrpcTransport(cloud.address, Outputs(7))
    transfer = transport.measure_link(1_000, PATIENCE_S)
    transport.close()
    assert not transfer.delivered
    assert 0 <= transfer.send_s < PATIENCE_S


def test_an_embedding_that_is_no_direction_is_refused(model, cloud):
    transport = GrpcTransport(cloud.address, Outputs(0, 4))
    for vector in ([0.0] * 4, [1.0] * 4):
        cloud.reply = pb.InferReply(vector=vector)
        with pytest.raises(WireError, match="field vector has length"):
            transport.infer(image_request(model), PATIENCE_S)
    transport.close()


@pytest.mark.parametrize(
    "lie",
    [
        {"stem_s": 1.7e308},
        {"line": {}},
        {"samples": [[1, 1, 1e308]]},
        {"image_bytes": {"png": 1e308}},
        {"model": "\ud800"},
        {"schema": "x" * 1_000_000},
    ],
)
def test_an_absurd_profile_is_refused_when_connecting(model, cloud, profile, lie):
    values = json.loads(profile.to_json()) | lie
    cloud.greeting = serialise_greeting(Greeting("small", model.fingerprint, json.dumps(values)))
    with pytest.raises(InputError, match=f"profile of {cloud.address}: field ") as refused:
        connect(model, cloud.address, profile)
    assert len(str(refused.value)) < 400


def test_blocks_that_the_model_lacks_are_refused_when_connecting_instead_of_never_sending_a_frame(
    model, cloud, profile
):
    for last in (7, 4_294_967_295):
        cloud.greeting = serialise_greeting(Greeting("small", model.fingerprint, profile.to_json(), (0, last)))
        with pytest.raises(WireError, match="field entry_blocks exceeds the model's depth"):
            connect(model, cloud.address, profile)


@pytest.mark.parametrize("name", ["\x1b[2J", "x" * 1_001, "a\nb"])
def test_a_name_that_cannot_be_shown_is_refused_when_connecting(model, cloud, profile, name):
    for greeting in (Greeting(name, "0" * 16, "{}"), Greeting("small", name, "{}")):
        cloud.greeting = serialise_greeting(greeting)
        with pytest.raises(JanusError, match=r"field (model|fingerprint) is not at most 1000 printable") as refused:
            connect(model, cloud.address, profile)
        assert str(refused.value).isprintable()


def test_a_refusal_cannot_control_a_terminal(cloud, device, frames):
    cloud.refusal = "\x1b[2J" + "x" * 5_000
    outcome = device.infer(frames[0])
    assert outcome.fallback.isprintable()
    assert len(outcome.fallback) < 700
    assert "refused (resource_exhausted): \ufffd[2Jxxx" in outcome.fallback
    assert outcome.fallback.startswith(TooMany.__name__)


@pytest.mark.parametrize(
    ("trailers", "says"),
    [
        ({EXPECTED_WAIT: "-1"}, "load: refusal: expected wait of '-1', which is no time"),
        ({EXPECTED_WAIT: "nan"}, "load: refusal: expected wait of 'nan'"),
        ({EXPECTED_WAIT: "inf"}, "load: refusal: expected wait of 'inf'"),
        ({EXPECTED_WAIT: "9" * 500}, "load: refusal: expected wait of '9999"),
        ({EXPECTED_WAIT: "soon"}, "load: refusal: expected wait of 'soon'"),
        ({EXPECTED_WAIT: "1e9"}, "load: expected wait of 1e+09 s"),
        ({PRICE: b"\xff"}, "load: refusal: "),
        ({PRICE: pb.Price(frame_s=-1.0).SerializeToString()}, "load: refusal: field price is "),
    ],
)
def test_a_load_that_cannot_be_in_a_refusal_is_ignored_counted_and_told(cloud, device, frames, trailers, says):
    cloud.refusal, cloud.trailers = "full", tuple(trailers.items())
    tally = Tally()
    outcome = device.infer(frames[0])
    tally.add(outcome)
    assert outcome.refused
    (told,) = outcome.impossible
    assert told.startswith(says)
    assert len(told) < 200
    assert tally.summary().impossible == 1


class Numbers:
    """Repeats the number of a request, or another one."""

    def __init__(self, answered):
        self.seen = []
        self.answered = answered

    def __call__(self, number):
        self.seen.append(number)
        return self.answered(self.seen)


def test_every_request_and_probe_has_a_number_of_its_own(cloud, device, frames):
    cloud.number = Numbers(lambda seen: seen[-1])
    for frame in frames:
        assert device.infer(frame).answer.classes == (3, 1)
    assert len(set(cloud.number.seen) - {0}) == len(frames)


@pytest.mark.parametrize("answered", [lambda seen: seen[0], lambda seen: seen[-1] ^ 1], ids=["repeated", "guessed"])
def test_a_reply_to_another_request_is_refused_and_the_frame_is_finished_here(cloud, device, frames, answered):
    cloud.number = Numbers(lambda seen: seen[-1])
    device.infer(frames[0])
    cloud.number.answered = answered
    outcome = device.infer(frames[1])
    assert outcome.fallback.startswith("WireError: field number is ")
    assert outcome.refused_reply == outcome.fallback


def test_an_older_cloud_repeats_no_number_but_one_that_has_done_so_must_go_on(cloud, device, frames):
    assert device.infer(frames[0]).fallback is None
    cloud.number = lambda number: number
    assert device.infer(frames[1]).fallback is None
    cloud.number = lambda number: 0
    assert device.infer(frames[2]).fallback.startswith("WireError: field number is 0")


def test_a_reply_to_another_probe_says_nothing_about_the_link(cloud):
    transport = GrpcTransport(cloud.address, Outputs(7))
    cloud.number = lambda number: 5
    probed = transport.probe(1_000, PATIENCE_S).result()
    transport.close()
    assert not probed.transfer.delivered
    assert probed.load is None
    assert probed.refused.startswith("field number is 5, expected ")


def test_an_absurd_load_is_counted_and_told_once(model, cloud, profile, frames):
    told, tally = [], Tally()
    cloud.reply = pb.InferReply(**HONEST, expected_queue_s=1e9, price=pb.Price(answers_per_s=1e300))
    with connect(model, cloud.address, profile, sla_s=PATIENCE_S, policy="cloud-only", notify=told.append) as device:
        for frame in frames:
            tally.add(device.infer(frame))
    assert tally.summary().impossible >= 2 * len(
        frames
    )  # and answers that come long before the reported wait has ended
    lies = [line for line in told if "cannot be right" in line]
    assert lies == [
        f"{cloud.address} tells what cannot be right, which is not used: load: expected wait of 1e+09 s, but no "
        "request waits longer than 60 s; the rest is counted"
    ]
