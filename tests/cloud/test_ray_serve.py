"""A cloud on Ray Serve with two replicas on the CPU, as `janus-vit cloud --ray` starts it. One is killed under load."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from patience import PATIENCE_S, wait_until

from janus_vit.errors import Overloaded, Rejected
from janus_vit.model.catalog import load_model
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.payloads import parse_payload
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.connect import connect, expected_outputs
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.sources.frames import open_source
from janus_vit.wire.inputs import encode_input
from janus_vit.wire.messages import Request

DEVICES, PERIOD_S, SLA_S = 4, 0.1, 5.0
FRAMES = 10  # of each device that the cloud answers before a replica is killed, and again afterwards
START_S = 180.0
MARK = "JANUS_TEST_OF_RAY"
PATIENT = {  # Ray gives up what other programs keep from the CPU for so many seconds
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "180",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_worker_register_timeout_seconds": "300",
}


@dataclass(frozen=True)
class RayCloud:
    """A running cloud.

    Attributes:
        address: where devices connect.
        mark: value of the environment variable `MARK` in all of its processes.
    """

    address: str
    mark: str

    def replicas(self) -> set[int]:
        """Process numbers of the replicas that run now."""
        found = set()
        for process in Path("/proc").iterdir():
            if process.name.isdecimal() and _is_replica(process, self.mark):
                found.add(int(process.name))
        return found


def _is_replica(process: Path, mark: str) -> bool:
    try:
        marked = f"{MARK}={mark}".encode() in (process / "environ").read_bytes()
        return marked and (process / "cmdline").read_bytes().startswith(b"ray::ServeReplica:janus-vit")
    except OSError:  # it has ended
        return False


@pytest.fixture(scope="module")
def digits():
    return load_model()


@pytest.fixture(scope="module")
def profile(make_profile) -> PlatformProfile:
    return make_profile(1e-5, 1e-3, "janus-digits")


@pytest.fixture(scope="module")
def cloud(profile, tmp_path_factory):
    path = tmp_path_factory.mktemp("ray") / "cloud.json"
    profile.save(path)
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    mark, folder = uuid.uuid4().hex, tempfile.mkdtemp(prefix="ray")  # a path that is short enough for Ray's sockets
    options = ["--engine", "eager", "--threads", "1", "--replicas", "2", "--profile", str(path), "--json"]
    options.append("--allow-anonymous")
    process = subprocess.Popen(
        [sys.executable, "-m", "janus_vit.cli.main", "cloud", "--ray", "--listen", f"0.0.0.0:{port}", *options],
        env={
            **os.environ,
            **PATIENT,
            MARK: mark,
            "RAY_TMPDIR": folder,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": uuid.uuid4().hex,
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        served = json.loads(process.stdout.readline())
        assert (served["port"], served["fewest_replicas"], served["most_replicas"]) == (port, 2, 2)
        yield RayCloud(f"127.0.0.1:{port}", mark)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_S)
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)
    assert process.returncode == 0
    assert not RayCloud("", mark).replicas()


class Stream:
    """A device that sends frames at a fixed rate until it is stopped, in a thread of its own.

    Attributes:
        sent: number of frames.
        outcomes: of these frames.
    """

    def __init__(self, device, frames):
        self.sent = 0
        self.outcomes: list[Outcome] = []
        self._device = device
        self._frames = frames
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join()

    def answered_since(self, from_s: float) -> int:
        """Frames from then on that the cloud answered in time."""
        return sum(each.fallback is None and each.met for each in list(self.outcomes) if each.at_s >= from_s)

    def _run(self):
        with self._device as device:
            while not self._stop.is_set():
                due_s = time.perf_counter() + PERIOD_S
                self.sent += 1
                self.outcomes.append(device.infer(self._frames[self.sent % len(self._frames)]))
                self._stop.wait(max(0.0, due_s - time.perf_counter()))


def jpeg_request(model, **changes) -> Request:
    (sample,) = open_source("builtin").first(1)
    pixels = model.preprocessing.crop(sample.frame)
    body = encode_input(pixels, parse_payload("jpeg90"), model.preprocessing.normalise)
    request = Request(model.fingerprint, "jpeg90", 0, (0,) * model.shape.blocks, 0, 0, 30.0, "test", body)
    return replace(request, **changes)


def test_devices_see_our_own_server_and_a_killed_replica_loses_no_frame(digits, profile, cloud):
    """One test: Ray takes ten seconds to start, and tests of one file may run in several processes."""
    check_calls(digits, profile, cloud)
    frames = [sample.frame for sample in open_source("builtin").first(8)]
    settings = DeviceConfig(sla_s=SLA_S, policy="cloud-jpeg", engine="eager")
    devices = [connect(digits, cloud.address, profile, settings, name=f"device {index}") for index in range(DEVICES)]
    replicas = cloud.replicas()
    assert len(replicas) == 2
    victim = min(replicas)
    streams = [Stream(device, frames) for device in devices]
    wait_until(lambda: all(stream.answered_since(0.0) >= FRAMES for stream in streams))
    killed_s = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: all(stream.answered_since(killed_s) >= FRAMES for stream in streams))
    wait_until(lambda: len(cloud.replicas() - {victim}) == 2, pause_s=0.2)  # Ray Serve starts another one
    for stream in streams:
        stream.stop()
    for stream in streams:
        assert [outcome.frame for outcome in stream.outcomes] == list(range(stream.sent))
        assert all(outcome.answer.classes for outcome in stream.outcomes)
    assert all(
        outcome.fallback is None or outcome.fallback.startswith(("Unreachable", "DeadlineExceeded", "Overloaded"))
        for stream in streams
        for outcome in stream.outcomes
    )


def check_calls(digits, profile, cloud):
    """Every call ends as on our own server."""
    transport = GrpcTransport(cloud.address, expected_outputs(digits))
    try:
        greeting = transport.hello(START_S)
        assert (greeting.fingerprint, greeting.profile_json) == (digits.fingerprint, profile.to_json())
        assert transport.infer(jpeg_request(digits), PATIENCE_S).answer.classes
        with pytest.raises(Overloaded, match="cannot answer in time") as refusal:
            transport.infer(jpeg_request(digits, time_left_s=1e-4), PATIENCE_S)
        assert refusal.value.expected_wait_s >= 0
        assert refusal.value.price is not None
        with pytest.raises(Rejected, match=r"failed_precondition.*start both sides with the same model"):
            transport.infer(jpeg_request(digits, fingerprint="other"), PATIENCE_S)
        probed = transport.probe(64_000, PATIENCE_S).result()
        assert probed.transfer.delivered
        assert probed.load is not None
    finally:
        transport.close()
