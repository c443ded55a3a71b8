"""The load of a cloud on its way to devices: probes, refusals, and clouds that are older.

What ingest processes tell is in test_ingest_pool.py.
"""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from cloud_requests import image_request
from patience import PATIENCE_S

from janus_vit.cloud.loop import EngineLoop
from janus_vit.cloud.server import Cloud
from janus_vit.errors import Overloaded
from janus_vit.planning.price import CloudLoad, EnginePrice
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.scheduling.scheduler import Load
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.load_messages import serialise_price
from janus_vit.wire.rpc import EXPECTED_WAIT, INFER, PRICE, PROBE, SERVICE

BUSY = Load(0.5, EnginePrice(1e-3, 1e-3, 1e-4, 1e-5, answers_per_s=8.0), waiting=9, busy=True)


def connected(port):
    return GrpcTransport(f"127.0.0.1:{port}", Outputs(7))


def probe(transport):
    return transport.probe(1_000, PATIENCE_S).result(timeout=PATIENCE_S)


@pytest.fixture
def profile(make_profile):
    return make_profile(1e-5, model="small")


def test_a_probe_tells_the_load_of_the_cloud(model, profile, monkeypatch):
    with Cloud(model, profile, engine="eager") as cloud:
        transport = connected(cloud.port)
        idle = probe(transport).load
        assert idle.expected_wait_s == 0.0
        assert idle.price.frame_s > 0
        monkeypatch.setattr(EngineLoop, "load", lambda self: BUSY)
        assert probe(transport).load == CloudLoad(0.5, BUSY.price)
        transport.close()


def test_a_refusal_tells_wait_and_price(model, profile, monkeypatch):
    def refuse(self, job):
        raise Overloaded("cannot answer in time", 0.4, BUSY.price)

    with Cloud(model, profile, engine="eager") as cloud:
        transport = connected(cloud.port)
        monkeypatch.setattr(EngineLoop, "check", refuse)
        with pytest.raises(Overloaded) as refusal:
            transport.infer(image_request(model), PATIENCE_S)
        assert refusal.value.expected_wait_s == 0.4
        assert refusal.value.price == BUSY.price
        transport.close()


class OtherCloud:
    """A server with its own replies to probes and its own trailers of refusals."""

    def __init__(self, reply, trailers):
        def refuse(requests, context):
            context.set_trailing_metadata(trailers)
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

        self.server = grpc.server(ThreadPoolExecutor(1))
        methods = {INFER: refuse, PROBE: lambda requests, context: reply}
        handlers = {
            path.rsplit("/", 1)[1]: grpc.stream_unary_rpc_method_handler(call) for path, call in methods.items()
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def __enter__(self):
        self.transport = connected(self.port)
        return self.transport

    def __exit__(self, *error):
        self.transport.close()
        self.server.stop(None).wait()


def test_an_older_cloud_tells_no_load(model):
    older = pb.ProbeReply(receive_s=1e-6).SerializeToString()
    with OtherCloud(older, ((EXPECTED_WAIT, "0.25"),)) as transport:
        probed = probe(transport)
        assert probed.transfer.delivered
        assert probed.load is None
        with pytest.raises(Overloaded) as refusal:
            transport.infer(image_request(model), PATIENCE_S)
        assert refusal.value.expected_wait_s == 0.25
        assert refusal.value.price is None


@pytest.mark.parametrize("price", [b"\xff\xff", serialise_price(EnginePrice(answers_per_s=float("nan")))])
def test_a_price_that_cannot_be_true_is_not_believed(model, price):
    reply = pb.ProbeReply(receive_s=1e-6, price=pb.Price(answers_per_s=-1.0)).SerializeToString()
    with OtherCloud(reply, ((EXPECTED_WAIT, "0.25"), (PRICE, price))) as transport:
        probed = probe(transport)
        assert not probed.transfer.delivered
        assert probed.load is None
        with pytest.raises(Overloaded) as refusal:
            transport.infer(image_request(model), PATIENCE_S)
        assert refusal.value.price is None
