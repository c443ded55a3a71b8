"""A cloud with certificates and tokens: who gets in, under which name, and what changes while it runs."""

import os
import socket
import threading
from codecs import BOM_UTF8
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext

import grpc
import pytest
from certificates import Authority
from cloud_requests import image_request
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from patience import PATIENCE_S

from janus_vit.cloud.access.certificates import Certificates, check_authorities
from janus_vit.cloud.access.settings import Access, Gate
from janus_vit.cloud.access.tokens import hash_line, new_token
from janus_vit.cloud.server import Cloud
from janus_vit.errors import InputError, TransportError, Unauthenticated
from janus_vit.runtime.connect import connect
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.scheduling.config import CloudConfig
from janus_vit.wire.answer_check import Outputs


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def server_files(authority, tmp_path):
    return authority.pair(tmp_path, "cloud")


@pytest.fixture
def serve(model, make_profile):
    """Start a cloud with these settings; return it with the names under which requests were counted."""
    clouds = []

    def start(access):
        cloud = Cloud(model, make_profile(1e-5, model="small"), engine="eager", access=access)
        clouds.append(cloud)
        return cloud

    yield start
    for cloud in clouds:
        cloud.close()


def asks(cloud, authority=None, pair=None, token=None, host="127.0.0.1"):
    """Connect with these credentials and greet the cloud."""
    credentials = None
    if authority is not None:
        chain, key = (None, None) if pair is None else (path.read_bytes() for path in pair)
        credentials = grpc.ssl_channel_credentials(authority.pem, key, chain)
    transport = GrpcTransport(f"{host}:{cloud.port}", Outputs(7), credentials, token)
    try:
        return transport.hello(PATIENCE_S).model
    finally:
        transport.close()


def devices_of(cloud):
    samples = next(family for family in cloud.metrics.registry.collect() if family.name == "janus_device_requests")
    return {sample.labels["device"] for sample in samples.samples}


def test_tls_from_files_that_are_renewed_while_it_runs(serve, authority, server_files, tmp_path, monkeypatch):
    monkeypatch.setattr("janus_vit.cloud.access.watched._EVERY_S", 0.0)
    cloud = serve(Access(*server_files))
    assert asks(cloud, authority) == "small"
    (tmp_path / "new").mkdir()
    other = Authority("other")
    for new, path in zip(other.pair(tmp_path / "new", "cloud"), server_files, strict=True):
        os.replace(new, path)
    assert asks(cloud, other) == "small"
    with pytest.raises(TransportError):
        asks(cloud, authority)
    server_files[0].write_text("half a file")
    assert asks(cloud, other) == "small"


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, None])
def test_keys_that_every_device_can_use(serve, authority, tmp_path, curve):
    key = rsa.generate_private_key(65_537, 2_048) if curve is None else ec.generate_private_key(curve())
    pair = authority.pair(tmp_path, "cloud", key)
    assert asks(serve(Access(*pair)), authority, pair) == "small"


@pytest.mark.parametrize("curve", [ec.SECP256K1, ec.SECP521R1, None])
def test_a_key_that_no_device_can_use_is_refused_at_the_start(authority, tmp_path, curve):
    key = ed25519.Ed25519PrivateKey.generate() if curve is None else ec.generate_private_key(curve())
    with pytest.raises(InputError, match=r"cloud.pem: its key is of a kind that gRPC does not take: .* P-256"):
        Gate(Access(*authority.pair(tmp_path, "cloud", key)))


@pytest.mark.parametrize(
    ("valid_h", "says"),
    [((-48, -24), "cloud.pem: expired on 20"), ((24, 48), "is not valid before 20"), ((-48, 24 * 365 * 40), None)],
)
def test_a_certificate_that_is_not_valid_now_is_refused_at_the_start(authority, tmp_path, valid_h, says):
    access = Access(*authority.pair(tmp_path, "cloud", valid_h=valid_h))
    with pytest.raises(InputError, match=says) if says else nullcontext():
        Gate(access)


def test_a_renewed_certificate_that_has_expired_is_told_and_the_old_one_stays(
    serve, authority, server_files, monkeypatch, caplog
):
    monkeypatch.setattr("janus_vit.cloud.access.watched._EVERY_S", 0.0)
    cloud = serve(Access(*server_files))
    authority.pair(server_files[0].parent, "cloud", valid_h=(-48, -24))
    assert asks(cloud, authority) == "small"
    assert "renew it; what was read before stays in force" in caplog.text


def test_a_port_is_not_the_only_thing_to_check_if_there_is_a_certificate(serve, server_files, model, make_profile):
    taken = serve(Access(*server_files)).port
    with pytest.raises(InputError, match=r"cannot listen on .* gRPC does not take the certificate"):
        Cloud(model, make_profile(1e-5, model="small"), f"127.0.0.1:{taken}", Access(*server_files), engine="eager")


def test_a_device_without_a_certificate_of_the_right_authority_gets_no_word(serve, authority, server_files, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    cloud = serve(Access(*server_files, client_ca=ca))
    assert asks(cloud, authority, authority.pair(tmp_path, "robot-1")) == "small"
    for pair in (None, Authority("other").pair(tmp_path, "robot-2")):
        with pytest.raises(TransportError):
            asks(cloud, authority, pair)


OURS, STRANGE, ELSEWHERE = Authority(), Authority("strange"), Authority("elsewhere", address="127.0.0.9")


@pytest.mark.parametrize(
    ("signs", "asks_devices", "trusted", "says"),
    [
        (OURS, False, None, r"Socket closed\)\): .*; if it has TLS, add --ca$"),
        (OURS, True, OURS, "; if it asks devices for certificates, add --cert and --key$"),
        (OURS, False, STRANGE, "check that its certificate is valid now, and that --ca holds its authority$"),
        (ELSEWHERE, False, ELSEWHERE, "connect to a host that its certificate names, or renew it with this host$"),
        (None, False, OURS, "it serves without TLS: start it with --cert and --key, or leave out --ca$"),
    ],
)
def test_a_device_whose_connection_fails_in_tls_is_told_what_helps(
    model, serve, tmp_path, make_profile, signs, asks_devices, trusted, says
):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(OURS.pem)
    pair = signs.pair(tmp_path, "cloud") if signs else ()
    cloud = serve(Access(*pair, client_ca=ca if asks_devices else None))
    credentials = grpc.ssl_channel_credentials(trusted.pem) if trusted else None
    with pytest.raises(InputError, match=says) as told:
        connect(model, f"127.0.0.1:{cloud.port}", make_profile(1e-5, model="small"), credentials=credentials)
    assert "failed to connect to all addresses" not in str(told.value)


def test_a_device_is_known_by_its_certificate_whatever_name_it_claims(model, serve, authority, server_files, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    cloud = serve(Access(*server_files, client_ca=ca))
    chain, key = (path.read_bytes() for path in authority.pair(tmp_path, "robot-1"))
    credentials = grpc.ssl_channel_credentials(authority.pem, key, chain)
    transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7), credentials)
    transport.infer(image_request(model, device="robot-9"), PATIENCE_S)
    transport.close()
    assert devices_of(cloud) == {"robot-1"}


def test_a_device_is_known_by_its_token_whatever_name_it_claims(model, serve, tmp_path):
    token, tokens = new_token(), tmp_path / "tokens.txt"
    tokens.write_text(hash_line("robot-1", token) + "\n")
    cloud = serve(Access(tokens=tokens))
    transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7), token=token)
    transport.infer(image_request(model, device="robot-9"), PATIENCE_S)
    assert transport.probe(1_000, PATIENCE_S).result().transfer.delivered
    transport.close()
    assert devices_of(cloud) == {"robot-1"}


def test_every_call_needs_a_token_and_no_secret_is_logged(model, serve, tmp_path, caplog, make_profile):
    caplog.set_level("DEBUG")
    token, wrong, tokens = new_token(), new_token(), tmp_path / "tokens.txt"
    tokens.write_text(hash_line("robot-1", token) + "\n")
    cloud = serve(Access(tokens=tokens))
    assert asks(cloud, token=token) == "small"
    for bad in (None, wrong):
        transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7), token=bad)
        with pytest.raises(Unauthenticated, match="does not know this device"):
            transport.hello(PATIENCE_S)
        with pytest.raises(Unauthenticated, match="does not know this device"):
            transport.infer(image_request(model), PATIENCE_S)
        assert not transport.probe(1_000, PATIENCE_S).result().transfer.delivered
        transport.close()
    for bad, says in ((None, "the call has no token: "), (wrong, "its token is not in the cloud's file --tokens: ")):
        with pytest.raises(InputError, match=f"does not know this device: {says}"):
            connect(model, f"127.0.0.1:{cloud.port}", make_profile(1e-5, model="small"), token=bad)
    assert token not in caplog.text
    assert wrong not in caplog.text


def test_a_token_crosses_a_network_only_encrypted():
    with pytest.raises(InputError, match=r"in clear text: add --ca FILE"):
        GrpcTransport("10.0.0.5:50051", Outputs(7), token=new_token())
    GrpcTransport("10.0.0.5:50051", Outputs(7), grpc.ssl_channel_credentials(), new_token()).close()
    with pytest.raises(InputError, match="characters that no token has"):
        GrpcTransport("127.0.0.1:50051", Outputs(7), token="two\nlines")


def test_a_token_in_clear_text_goes_to_no_proxy(serve, tmp_path, monkeypatch):
    token, tokens = new_token(), tmp_path / "tokens.txt"
    tokens.write_text(hash_line("robot-1", token) + "\n")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("no_grpc_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert asks(serve(Access(tokens=tokens)), token=token, host="localhost") == "small"
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_device_whose_token_is_revoked_says_so_once_and_sends_no_more_frames(
    model, serve, tmp_path, monkeypatch, make_profile, frames
):
    monkeypatch.setattr("janus_vit.cloud.access.watched._EVERY_S", 0.0)
    monkeypatch.setattr("janus_vit.runtime.search.absent_cloud._FIRST_PAUSE_S", 3600.0)
    token, tokens, told = new_token(), tmp_path / "tokens.txt", []
    tokens.write_text(hash_line("robot-1", token) + "\n")
    cloud = serve(Access(tokens=tokens))
    options = {"policy": "cloud-jpeg", "sla_s": PATIENCE_S, "token": token, "notify": told.append}
    with connect(model, f"127.0.0.1:{cloud.port}", make_profile(1e-5, model="small"), **options) as device:
        assert device.infer(frames[0]).fallback is None
        tokens.write_text(hash_line("robot-2", new_token()) + "\n")
        outcomes = [device.infer(frames[0]) for _ in range(3)]
    assert outcomes[0].fallback.startswith("Unauthenticated: ")
    assert [outcome.plan.is_local for outcome in outcomes[1:]] == [True, True]
    assert len(told) == 2
    assert "does not know this device: its token is not in the cloud's file --tokens: admit it there" in told[1]


def test_a_device_whose_token_is_revoked_is_told_also_by_a_probe_and_by_a_refusal_that_comes_late(
    model, serve, tmp_path, monkeypatch
):
    monkeypatch.setattr("janus_vit.cloud.access.watched._EVERY_S", 0.0)
    token, tokens, told = new_token(), tmp_path / "tokens.txt", []
    tokens.write_text(hash_line("robot-1", token) + "\n")
    cloud = serve(Access(tokens=tokens))
    address, outputs = f"127.0.0.1:{cloud.port}", Outputs(7)
    transport = GrpcTransport(address, outputs, token=token, on_unknown=lambda error: told.append(str(error)))
    with closing(transport):
        transport.hello(PATIENCE_S)
        tokens.write_text(hash_line("robot-2", new_token()) + "\n")
        assert not transport.probe(1_000, PATIENCE_S).result().transfer.delivered
        call = transport.start(image_request(model), PATIENCE_S)
        transport.wait([call], PATIENCE_S)
        with pytest.raises(Unauthenticated):
            call.reply()
        with pytest.raises(Unauthenticated):  # told by the handshake, which asks on purpose
            transport.hello(PATIENCE_S)
    assert len(told) == 2
    assert all(f"{address} does not know this device" in each for each in told)


def test_a_cloud_that_strangers_reach_does_not_start_without_a_word(model, make_profile):
    before = threading.active_count()
    with pytest.raises(InputError, match="anyone could use this cloud"):
        Cloud(model, make_profile(1e-5, model="small"), "0.0.0.0:0", engine="eager")
    assert threading.active_count() == before


@pytest.mark.parametrize(("asks_for_tokens", "host"), [(True, "127.0.0.1"), (False, "0.0.0.0")])
def test_metrics_of_a_cloud_that_asks_for_credentials_are_for_its_own_machine(
    model, make_profile, server_files, tmp_path, asks_for_tokens, host
):
    tokens = tmp_path / "tokens.txt"
    tokens.write_text(hash_line("robot-1", new_token()) + "\n")
    access = Access(*server_files, tokens=tokens) if asks_for_tokens else Access(allow_anonymous=True)
    config = CloudConfig(metrics_port=0)
    with Cloud(
        model, make_profile(1e-5, model="small"), "0.0.0.0:0", engine="eager", access=access, config=config
    ) as cloud:
        assert cloud.metrics_url == f"http://{host}:{cloud.metrics_port}/metrics"


def test_files_that_begin_with_the_mark_of_an_editor_are_served(authority, tmp_path):
    """Python's ssl reads them, and gRPC fails without saying why."""
    certificate, key = authority.pair(tmp_path, "cloud")
    trusted = tmp_path / "ca.pem"
    for path, content in ((certificate, certificate.read_bytes()), (key, key.read_bytes()), (trusted, authority.pem)):
        path.write_bytes(BOM_UTF8 + content)
    server = grpc.server(ThreadPoolExecutor(1))
    try:
        assert server.add_secure_port("127.0.0.1:0", Certificates(certificate, key, trusted).credentials()) > 0
    finally:
        server.stop(0).wait()
    assert check_authorities(trusted) == authority.pem
