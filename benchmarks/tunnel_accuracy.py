"""Measure how closely a tunnelled link follows its trace, how TCP behaves on it, and what the TCP proxy leaves out.

    sudo python benchmarks/tunnel_accuracy.py

Prints five tables and one JSON line. Takes about four minutes. The tunnel needs root; without root, the benchmark says
so and measures nothing. Other load on the machine increases the errors: sender, relay and receiver share its cores.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Iterator

import numpy as np
from _common import print_json
from _link_setup import LINK_KINDS, LinkSetup, acknowledging, draining, open_tunnelled, saturating, transfer_s

from janus_vit.errors import InputError
from janus_vit.links.emulator import LinkSpec
from janus_vit.links.generator import generate, trace_from
from janus_vit.links.netns import check_machine
from janus_vit.links.traces import Trace

SEGMENT_BYTES = 1448  # data in a packet of 1500 bytes, after 20 bytes of IP header and 32 of TCP header
DELAY_S = 0.03
RTT_S = 2 * DELAY_S
PAUSES_S = {0.1: 9, 1.0: 3}  # pause before a message -> number of messages
MATHIS = math.sqrt(3 / 2)  # every segment acknowledged, periodic losses (Mathis et al., 1997)

Row = dict[str, object]


def main() -> None:
    """Print the tables and the JSON line."""
    try:
        check_machine()
    except InputError as error:
        print(f"not measured: {error}")
        return
    rows = {
        "rate": table(rates()),
        "round trip": table(round_trips()),
        "slow start": table(slow_starts()),
        "loss": table(losses()),
        "proxy against tunnel": table(comparisons()),
    }
    print_json("tunnel_accuracy", 0, rows)


def table(rows: Iterator[Row]) -> list[Row]:
    """Print rows as they are measured, and return them."""
    seen: list[Row] = []
    for row in rows:
        if not seen:
            print("\n" + "  ".join(f"{name:>16}" for name in row))
        print("  ".join(f"{value:>16}" for value in row.values()), flush=True)
        seen.append(row)
    return seen


# ---------------------------------------------------------------- rate: a sender that never stops


def rates() -> Iterator[Row]:
    """Measure the rate at the far end of the tunnel with a saturating sender, second by second, beside the trace's."""
    stepping = generate("lte", "driving", duration_s=60, seed=1, interval_s=0.1)
    for trace in (*(constant(mbps) for mbps in (5, 20, 100)), stepping):
        with (
            open_tunnelled(LinkSpec(trace, trace, DELAY_S)) as setup,
            setup.connected() as (client, server),
            draining(server),
            saturating(client),
        ):
            time.sleep(3.0)  # until slow start is over and its queue has drained
            samples = [received(setup)]
            for _ in range(4):
                time.sleep(1.0)
                samples.append(received(setup))
        times_s, sizes_bytes = np.array(samples).T
        got_mbps = 8e-6 * np.diff(sizes_bytes) / np.diff(times_s)
        asked_mbps = np.array(
            [
                1e-6 * trace.bits_between(start_s - DELAY_S, end_s - DELAY_S) / (end_s - start_s)
                for start_s, end_s in zip(times_s, times_s[1:], strict=False)
            ]
        )
        yield {
            "link": trace.name,
            "asked Mbps": round(float(asked_mbps.mean()), 3),
            "measured Mbps": round(float(got_mbps.mean()), 3),
            "mean error %": round(float(100 * (got_mbps.mean() / asked_mbps.mean() - 1)), 2),
            "worst 1-s error %": round(float(100 * np.abs(got_mbps / asked_mbps - 1).max()), 2),
        }


def received(setup: LinkSetup) -> tuple[float, int]:
    """Return the link's time in seconds, and the IP bytes that the far end has received, as counted by the kernel."""
    assert setup.tunnel is not None
    with open(setup.tunnel.namespace.replace("/ns/net", "/net/dev"), encoding="ascii") as file:
        fields = next(line for line in file if "janus" in line).split(":")[1].split()
    return setup.link.elapsed_s, int(fields[0])


# ---------------------------------------------------------------- round trip


def round_trips() -> Iterator[Row]:
    """Measure the round trip of one byte, on an idle link and while another connection fills the queue."""
    for mbps in (5, 100):
        trace = constant(mbps)
        for name, open_link in LINK_KINDS.items():
            with open_link(LinkSpec(trace, trace, DELAY_S)) as setup:
                with setup.connected() as ends:
                    idle_ms = pings_ms(*ends, count=30)
                with setup.connected() as bulk, setup.connected() as ends, draining(bulk[1]), saturating(bulk[0]):
                    time.sleep(3.0)
                    loaded_ms = pings_ms(*ends, count=5)
            yield {
                "link": trace.name,
                "over": name,
                "asked ms": 1e3 * RTT_S,
                "median ms": round(float(np.median(idle_ms)), 2),
                "p99 ms": round(float(np.percentile(idle_ms, 99)), 2),
                "behind bulk ms": round(float(np.median(loaded_ms))),
            }


def pings_ms(client: socket.socket, server: socket.socket, count: int) -> list[float]:
    """Send one byte to the server and one back, several times; return each round trip in ms."""
    took_ms = []
    for _ in range(count):
        began_s = time.perf_counter()
        client.sendall(b"?")
        server.recv(1)
        server.sendall(b"!")
        client.recv(1)
        took_ms.append(1e3 * (time.perf_counter() - began_s))
    return took_ms


# ---------------------------------------------------------------- slow start (the proxy has none)


def slow_starts() -> Iterator[Row]:
    """Send 200 kB at 50 Mbps and 60 ms: on a fresh connection, after 2 s without traffic, and on a warm one."""
    trace = constant(50)
    size_bytes = 200_000
    for name, open_link in LINK_KINDS.items():
        fresh_s, idle_s, warm_s = [], [], []
        with open_link(LinkSpec(trace, trace, DELAY_S)) as setup:
            for _ in range(3):
                with setup.connected() as (client, server), acknowledging(server):
                    fresh_s.append(transfer_s(client, size_bytes))
                    for _ in range(8):
                        warm = transfer_s(client, size_bytes)
                    warm_s.append(warm)
                    time.sleep(2.0)
                    idle_s.append(transfer_s(client, size_bytes))
        yield {
            "over": name,
            "size/rate+rtt ms": round(1e3 * (8e-6 * size_bytes / 50 + RTT_S), 1),
            "fresh ms": milliseconds(fresh_s),
            "idle for 2 s ms": milliseconds(idle_s),
            "warm ms": milliseconds(warm_s),
        }


# ---------------------------------------------------------------- loss


def losses() -> Iterator[Row]:
    """Measure a saturating sender while packets are lost in both directions, beside the square-root law."""
    trace = constant(50)
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as file:
        available = file.read().split()
    for control, loss in (("reno", 0.003), ("reno", 0.01), ("reno", 0.03), ("cubic", 0.01), ("bbr", 0.01)):
        if control not in available:
            continue
        with (
            open_tunnelled(LinkSpec(trace, trace, DELAY_S), loss) as setup,
            setup.connected(control) as (client, server),
        ):
            with saturating(client):
                read_until(server, setup, 2.0)
                data_bytes = read_until(server, setup, 10.0)
            assert setup.tunnel is not None
            up, _ = setup.tunnel.counts()
        data_mbps = 8e-6 * data_bytes / 8.0
        law_mbps = 8e-6 * SEGMENT_BYTES / RTT_S * MATHIS / math.sqrt(loss)
        yield {
            "control": control,
            "loss %": 100 * loss,
            "lost %": round(100 * up.lost / up.sent, 2),
            "data Mbps": round(data_mbps, 2),
            "Mathis Mbps": round(law_mbps, 2),
            "of the law": round(data_mbps / law_mbps, 2),
        }


def read_until(server: socket.socket, setup: LinkSetup, end_s: float) -> int:
    """Read until that time of the link; return the number of bytes."""
    size_bytes = 0
    while setup.link.elapsed_s < end_s:
        size_bytes += len(server.recv(1 << 20))
    return size_bytes


# ---------------------------------------------------------------- proxy against tunnel


def comparisons() -> Iterator[Row]:
    """Send messages over one warm connection with pauses between them, as a stream of frames does."""
    lte = generate("lte", "driving", duration_s=60, seed=1)
    for trace in (constant(5), constant(50), lte):
        for size_bytes in (3_000, 20_000, 200_000):
            spec = LinkSpec(trace, trace, DELAY_S)
            proxy_ms, tunnel_ms = (paced_ms(open_link(spec), size_bytes) for open_link in LINK_KINDS.values())
            for pause_s in PAUSES_S:
                yield {
                    "link": trace.name,
                    "message bytes": size_bytes,
                    "pause s": pause_s,
                    "proxy ms": round(proxy_ms[pause_s], 1),
                    "tunnel ms": round(tunnel_ms[pause_s], 1),
                    "proxy is off %": round(100 * (proxy_ms[pause_s] / tunnel_ms[pause_s] - 1), 1),
                }


def paced_ms(opened: contextlib.AbstractContextManager[LinkSetup], size_bytes: int) -> dict[float, float]:
    """Return the median transfer time for each pause, after enough messages to open TCP's window."""
    with opened as setup, setup.connected() as (client, server), acknowledging(server):
        for _ in range(6):
            transfer_s(client, size_bytes)
        took_ms = {}
        for pause_s, count in PAUSES_S.items():
            took_s = []
            for _ in range(count):
                time.sleep(pause_s)
                took_s.append(transfer_s(client, size_bytes))
            took_ms[pause_s] = 1e3 * float(np.median(took_s))
    return took_ms


def constant(mbps: float) -> Trace:
    """Return a trace of constant rate."""
    return trace_from(f"constant:{mbps:g}", 1, 0)


def milliseconds(seconds: list[float]) -> float:
    """Return the median in ms."""
    return round(1e3 * float(np.median(seconds)), 1)


if __name__ == "__main__":
    main()
