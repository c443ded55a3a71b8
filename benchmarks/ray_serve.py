"""The cloud on Ray Serve beside our own gRPC server: throughput, latency, CPU time, and a replica that is killed.

    python benchmarks/ray_serve.py [--quick]

64 devices in other processes send JPEGs of 224 px. The engine takes 10 ms for each frame, one after the other, and
computes nothing, so that one replica answers 100 frames/s at most. Then an engine without time shows what the path
itself can pass. Last, one of two replicas is killed under a load that the other one can carry.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version

import grpc
import numpy as np
from _common import print_json
from _load_generator import Load, Outcomes, send_load
from _ray_replicas import MARK, cpu_s, replica_ids, serve_alone, serve_on_ray
from serving import DEADLINE_S, DEVICES, model_224, requests

from janus_vit.wire.rpc import INFER

FRAME_S, NO_TIME_S = 10e-3, 1e-5
LONG_S = 2.0
RATES = (50, 90, 150, 180)
KILL_RATE, BEFORE_S, AFTER_S = 75, 4, 15
_REFUSED = "RESOURCE_EXHAUSTED"
_START_S, _STOP_S, _SETTLE_S = 300.0, 60.0, 0.5


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        port: where it serves.
        mark: value of `MARK` in its processes.
    """

    port: int
    mark: str


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one load.

    Attributes:
        server: name.
        offered_per_s: requests a second; None if devices never pause.
        answered_per_s: answers a second.
        in_time: share answered in time.
        refused: share refused on arrival.
        late: share answered too late, or not at all.
        p50_ms: median latency of the answers.
        p99_ms: 99th percentile of the latency of the answers.
        cpu_ms: CPU time of all of the server's processes for a request.
    """

    server: str
    offered_per_s: float | None
    answered_per_s: float
    in_time: float
    refused: float
    late: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Second:
    """Requests that were sent within one second.

    Attributes:
        since_kill_s: its start, from the death of the replica on.
        sent: requests.
        late: requests without an answer in time. Devices finish these frames themselves.
        failures: why there was no answer, by status.
    """

    since_kill_s: int
    sent: int
    late: int
    failures: dict[str, int]


@contextmanager
def running(target: Callable[..., None], *arguments: object) -> Iterator[Server]:
    """A server until the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments))
    os.environ[MARK] = uuid.uuid4().hex
    process.start()
    mark = os.environ.pop(MARK)
    theirs.close()
    try:
        if not ours.poll(_START_S):
            raise TimeoutError(f"{target.__name__} did not start within {_START_S:.0f} s")
        yield Server(ours.recv(), mark)
    finally:
        ours.close()
        process.join(_STOP_S)


def measure(name: str, server: Server, messages: list[bytes], rate: float | None, seconds: float) -> Row:
    """Send one load. Devices that never pause wait longer than the deadline: all of them always have a request."""
    time.sleep(_SETTLE_S)
    before_s = cpu_s(server.mark)
    deadline_s = LONG_S if rate is None else DEADLINE_S
    outcomes = send_load(Load(server.port, INFER, messages, rate, seconds, deadline_s))
    return as_row(name, rate, outcomes, cpu_s(server.mark) - before_s)


def as_row(name: str, rate: float | None, outcomes: Outcomes, used_s: float) -> Row:
    """The figures of one load."""
    sent, refused = max(1, outcomes.sent), outcomes.failures.get(_REFUSED, 0)
    latencies_ms = 1e3 * np.array(outcomes.latencies_s or [np.nan])
    return Row(
        server=name,
        offered_per_s=rate,
        answered_per_s=len(outcomes.latencies_s) / outcomes.elapsed_s,
        in_time=outcomes.in_time / sent,
        refused=refused / sent,
        late=(outcomes.sent - outcomes.in_time - refused) / sent,
        p50_ms=float(np.median(latencies_ms)),
        p99_ms=float(np.percentile(latencies_ms, 99)),
        cpu_ms=1e3 * used_s / sent,
    )


def kill_one(server: Server, messages: list[bytes]) -> list[Second]:
    """Send a steady load, kill a replica, and count late requests in each second."""
    ended = asyncio.run(_send_and_kill(server, messages))
    seconds = []
    for start_s in range(-BEFORE_S, AFTER_S):
        those = [status for sent_s, status in ended if start_s <= sent_s < start_s + 1]
        failures = {status: those.count(status) for status in sorted(set(those)) if status != "OK"}
        seconds.append(Second(start_s, len(those), sum(failures.values()), failures))
    return seconds


async def _send_and_kill(server: Server, messages: list[bytes]) -> list[tuple[float, str]]:
    """Give the time of each request since the kill, and its status."""
    victim = min(replica_ids(server.mark))
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) for _ in messages
    ]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    began_s = time.perf_counter()
    killed_s = began_s + BEFORE_S
    calls = [channel.stream_unary(INFER) for channel in channels]

    async def send(index: int) -> tuple[float, str]:
        due_s = began_s + index / KILL_RATE
        await asyncio.sleep(due_s - time.perf_counter())
        device = index % len(messages)
        try:
            await calls[device](iter([messages[device]]), timeout=DEADLINE_S)
        except grpc.RpcError as error:
            return due_s - killed_s, str(error.code().name)
        except asyncio.CancelledError:  # how gRPC ends a call whose deadline passes before the message is sent
            return due_s - killed_s, "CANCELLED"
        return due_s - killed_s, "OK"

    async def kill() -> None:
        await asyncio.sleep(killed_s - time.perf_counter())
        os.kill(victim, signal.SIGKILL)

    ended, _ = await asyncio.gather(asyncio.gather(*map(send, range(KILL_RATE * (BEFORE_S + AFTER_S)))), kill())
    for channel in channels:
        await channel.close()
    return ended


def main() -> None:
    """Print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="a quarter of the time")
    options = parser.parse_args()
    seconds = options.seconds / 4 if options.quick else options.seconds
    messages = requests(model_224())
    servers: dict[str, tuple[Callable[..., None], tuple[int, ...]]] = {
        "our own": (serve_alone, ()),
        "ray, 1 replica": (serve_on_ray, (1,)),
        "ray, 2 replicas": (serve_on_ray, (2,)),
    }
    rows, paths, killed = [], [], []
    for name, (target, arguments) in servers.items():
        with running(target, FRAME_S, *arguments) as server:
            measure("warm-up", server, messages, RATES[0], 2.0)
            rows += [measure(name, server, messages, rate, seconds) for rate in RATES]
            if arguments == (2,):
                killed = kill_one(server, messages)
        with running(target, NO_TIME_S, *arguments) as server:
            measure("warm-up", server, messages, None, 2.0)
            paths.append(measure(name, server, messages, None, seconds))
    print_tables(rows, paths, killed)
    found = {"rows": [asdict(row) for row in rows], "paths": [asdict(row) for row in paths]}
    print_json("ray_serve", 1, {**found, "killed": [asdict(each) for each in killed], "ray": version("ray")})


def print_tables(rows: Sequence[Row], paths: Sequence[Row], killed: Sequence[Second]) -> None:
    """For people."""
    print(f"engine: {1e3 * FRAME_S:.0f} ms a frame; deadline {1e3 * DEADLINE_S:.0f} ms")
    _print_rows(rows)
    print(f"\nengine without time, {DEVICES} devices never pause: what the path can pass")
    _print_rows(paths)
    print(f"\none of two replicas is killed at 0 s, {KILL_RATE} requests/s")
    line = "{:>8}{:>8}{:>8}  {}"
    print(line.format("second", "sent", "late %", "no answer"))
    for each in killed:
        why = ", ".join(f"{count} {status}" for status, count in each.failures.items())
        print(line.format(each.since_kill_s, each.sent, f"{100 * each.late / max(1, each.sent):.1f}", why))


def _print_rows(rows: Sequence[Row]) -> None:
    line = "{:<16}{:>10}{:>12}{:>11}{:>11}{:>8}{:>9}{:>9}{:>9}"
    head = ("server", "sent/s", "answered/s", "in time %", "refused %", "late %", "p50 ms", "p99 ms", "CPU ms")
    print(line.format(*head))
    for row in rows:
        shares = [f"{100 * share:.1f}" for share in (row.in_time, row.refused, row.late)]
        offered = "" if row.offered_per_s is None else f"{row.offered_per_s:.0f}"
        times = [f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}", f"{row.cpu_ms:.2f}"]
        print(line.format(row.server, offered, f"{row.answered_per_s:.0f}", *shares, *times))


if __name__ == "__main__":
    main()
