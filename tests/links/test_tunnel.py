"""The kernel's TCP over a tunnelled link.

A tunnel needs root, /dev/net/tun and `ip`; on a machine without, the same tests check that the error says so.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE_S

from janus_vit.cli.main import main
from janus_vit.errors import InputError
from janus_vit.links import netns
from janus_vit.links.emulator import LinkSpec
from janus_vit.links.traces import Trace
from janus_vit.links.tunnel import Tunnel
from janus_vit.model.catalog import BUILTIN, load_model
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.sources.frames import open_source
from janus_vit.testbed.rig import Rig

TIMEOUT_S = PATIENCE_S


def trace_of(*mbps: float) -> Trace:
    return Trace("test", 1.0, np.array(mbps))


# ---------------------------------------------------------------- what a machine needs


def test_everything_that_is_missing_is_named_at_once(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(netns, "TUN_PATH", "/dev/net/no-such-device")
    monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(InputError, match=r"root .* and /dev/net/no-such-device .* and the command ip"):
        Tunnel(LinkSpec(trace_of(10)))


def test_another_system_is_named(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(InputError, match="needs Linux"):
        Tunnel(LinkSpec(trace_of(10)))


def test_bench_says_what_high_fidelity_needs_before_anything_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["bench", "--trace", "constant:8", "--model", "none", "--high-fidelity"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("janus-vit: error: a tunnelled link needs root (run it with sudo)")
    assert err.count("\n") == 1


def test_tunnels_do_not_share_addresses():
    pairs = [netns.addresses(number) for number in (0, 1, 2**15 - 1)]
    assert pairs == [("198.18.0.1", "198.18.0.2"), ("198.18.0.5", "198.18.0.6"), ("198.19.255.253", "198.19.255.254")]


# ---------------------------------------------------------------- the kernel's TCP

FAST = LinkSpec(trace_of(200), trace_of(200), delay_s=0.002)
HOLD = """
import time
import numpy as np
from janus_vit.links.emulator import LinkSpec
from janus_vit.links.traces import Trace
from janus_vit.links.tunnel import Tunnel
if __name__ == "__main__":
    with Tunnel(LinkSpec(Trace("test", 1.0, np.array([10.0])))) as tunnel:
        print(tunnel.host, flush=True)
        {then}
"""


@cache
def refusal() -> str | None:
    """Return why this machine cannot create tunnels; None if it can."""
    try:
        Tunnel(FAST).close()
    except InputError as error:
        return str(error)
    return None


def names_what_is_missing(refused: str) -> bool:
    missing = {
        "needs root": os.geteuid() != 0,
        netns.TUN_PATH: not os.path.exists(netns.TUN_PATH),
        "command ip": shutil.which("ip") is None,
    }
    if not any(missing.values()):
        return "NET_ADMIN" in refused  # root, but in a container
    return all((what in refused) == is_missing for what, is_missing in missing.items())


@contextlib.contextmanager
def connected(tunnel: Tunnel) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open a link and a connection over it, and give its near and its far end."""
    with netns.listen_in(tunnel.namespace, tunnel.host) as listener:
        listener.settimeout(TIMEOUT_S)
        with (
            tunnel.open_link(listener.getsockname()[1]) as link,
            socket.create_connection((link.host, link.port), TIMEOUT_S) as here,
            listener.accept()[0] as there,
        ):
            there.settimeout(TIMEOUT_S)
            yield here, there


def transfer(source: socket.socket, target: socket.socket, payload: bytes) -> bytes:
    """Send bytes in one direction and return what arrives."""
    sending = threading.Thread(target=source.sendall, args=(payload,))
    sending.start()
    received = bytearray()
    while len(received) < len(payload) and (data := target.recv(1 << 16)):
        received += data
    sending.join()
    return bytes(received)


def test_bytes_arrive_whole_both_ways_though_packets_are_lost_and_tcp_is_the_same_everywhere():
    if refused := refusal():
        assert names_what_is_missing(refused)
        return
    payload = random.Random(1).randbytes(300_000)
    with Tunnel(FAST, loss=0.03, seed=1) as tunnel, connected(tunnel) as (here, there):
        assert transfer(here, there, payload) == payload
        assert transfer(there, here, payload) == payload
        for end in (here, there):
            control = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
            assert control.rstrip(b"\0").decode() == netns.CONGESTION_CONTROL
        up, down = tunnel.counts()
    assert up.lost > 0
    assert down.lost > 0
    assert up.sent > 300_000 / netns.MTU_BYTES


def test_tcp_fills_the_queue_until_packets_are_dropped_and_no_byte_is_early():
    if refused := refusal():
        assert names_what_is_missing(refused)
        return
    spec = LinkSpec(trace_of(20), delay_s=0.005, queue_bytes=30_000)
    payload = random.Random(2).randbytes(1_000_000)
    with Tunnel(spec) as tunnel, connected(tunnel) as (here, there):
        began_s = time.monotonic()
        assert transfer(here, there, payload) == payload
        assert time.monotonic() - began_s > 8 * len(payload) / 20e6
        up, _ = tunnel.counts()
    assert up.dropped > 0
    assert up.lost == 0


def test_every_link_of_a_tunnel_starts_in_the_same_state():
    if refused := refusal():
        assert names_what_is_missing(refused)
        return
    with Tunnel(FAST) as tunnel:
        with connected(tunnel) as (here, there):
            transfer(here, there, bytes(100_000))
        with connected(tunnel):
            assert tunnel.counts()[0].sent < 100_000 / netns.MTU_BYTES


def test_packets_pass_at_once_before_and_after_a_link():
    if refused := refusal():
        assert names_what_is_missing(refused)
        return
    never = LinkSpec(trace_of(*[0] * 999, 1))  # the first bit leaves after a quarter of an hour
    with Tunnel(never) as tunnel, netns.listen_in(tunnel.namespace, tunnel.host) as listener:
        for _ in range(2):
            with socket.create_connection(listener.getsockname(), TIMEOUT_S) as here, listener.accept()[0] as there:
                assert transfer(here, there, b"hello") == b"hello"
            with (
                tunnel.open_link(listener.getsockname()[1]) as link,
                pytest.raises(TimeoutError),
                socket.create_connection((link.host, link.port), timeout=0.2),
            ):
                pass


def test_a_cloud_in_the_namespace_answers_over_every_link(make_profile):
    if refused := refusal():
        assert names_what_is_missing(refused)
        return
    profile = make_profile(1e-5, model=BUILTIN)
    model = load_model(BUILTIN)
    with Tunnel(FAST) as tunnel, Rig(model, BUILTIN, profile, tunnel, 1.0, EagerEngine(model)) as rig:
        for _ in range(2):
            steps = list(islice(rig.stream("cloud-jpeg", cycle(open_source("builtin")), PATIENCE_S, 60.0), 3))
            assert [step.outcome.fallback for step in steps] == [None] * 3
            assert all(step.outcome.size_bytes > 0 and step.rate_mbps == 200 for step in steps)


def test_two_tunnels_exist_at_the_same_time():
    if refused := refusal():
        assert names_what_is_missing(refused)
        return
    with Tunnel(FAST) as one, Tunnel(FAST) as other:
        assert one.host != other.host
        for tunnel in (one, other):
            with connected(tunnel) as (here, there):
                assert transfer(here, there, b"hello") == b"hello"


@pytest.mark.parametrize(
    ("then", "ending"),
    [
        ("pass", None),
        ("raise SystemExit(3)", None),
        ("time.sleep(60)", signal.SIGTERM),
        ("time.sleep(60)", signal.SIGKILL),
    ],
    ids=["left", "raised", "terminated", "killed"],
)
def test_nothing_remains_however_the_owner_ends(then, ending, tmp_path):
    if refused := refusal():
        assert names_what_is_missing(refused)
        return
    script = tmp_path / "hold.py"
    script.write_text(HOLD.format(then=then))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        device = device_of(owner.stdout.readline().strip())
        if ending is not None:
            assert device.exists()
            owner.send_signal(ending)
    give_up_s = time.monotonic() + TIMEOUT_S
    while device.exists():  # the relay learns of it from its pipe
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def device_of(host: str) -> Path:
    """Return the folder of the near device of the tunnel to this address."""
    number = next(number for number in range(1 << 15) if netns.addresses(number)[1] == host)
    return Path(f"/sys/class/net/janus{number}")


def test_a_relay_that_has_ended_is_an_error():
    if refused := refusal():
        assert names_what_is_missing(refused)
        return
    with Tunnel(FAST) as tunnel:
        os.kill(int(tunnel.namespace.split("/")[2]), signal.SIGKILL)
        with pytest.raises(InputError, match="relay has ended"):
            tunnel.start_shaping()
