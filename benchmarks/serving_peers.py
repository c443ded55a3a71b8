"""Requests in time under load: this cloud beside LitServe and Ray Serve with their own batching.

    python benchmarks/serving_peers.py [--quick]

32 devices in other processes send JPEGs of 224 px at a fixed rate, each with a random phase. All servers run the same
ViT with random weights on the same engine, with one thread. It has few blocks, so that a short run has many requests.
100 % load is what this engine alone computes. Servers run on the first core, one after the other, and devices on the
second. The table shows each peer with the better of its settings at each load. Peers also get their own means against
late answers: LitServe drops requests that have waited too long, Ray Serve limits the requests that are under way. Peers
that are not installed are left out. Takes about 4 minutes.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from _common import print_json
from _load_generator import HTTP, Load, LoadGenerator, Outcomes
from _serving_peers import (
    PATH,
    PAYLOAD,
    SIDE,
    SIZES,
    Batching,
    Service,
    engine_alone_s,
    load_cores,
    random_model,
    running,
    serve_cloud,
)

from janus_vit.model.catalog import Model
from janus_vit.wire.inputs import encode_input
from janus_vit.wire.messages import Request, serialise_request
from janus_vit.wire.rpc import INFER

DEVICES = 32
LOADS, QUICK_LOADS = (0.5, 0.75, 1.0, 1.25, 1.5), (0.5, 1.25)
DEADLINE_S, DEADLINE_FRAMES = 0.3, 5
OURS, LITSERVE, RAY = NAMES = ("janus-vit", "litserve", "ray serve")
PACKAGES = {LITSERVE: "litserve", RAY: "ray"}
SETTINGS = {  # the best of those that were tried
    LITSERVE: (Batching(1, 0.0, 0.8), Batching(8, 0.005, 0.65)),
    RAY: (Batching(1, 0.0, 0.25), Batching(8, 0.005, 0.25)),
}
LINE = "{:>6}  {:<10}" + "{:>7}" * 2 + "{:>11}{:>9}{:>11}" + "{:>9}" * 2
HEAD = LINE.format("load", "server", "batch", "sent", "in time %", "late %", "refused %", "p50 ms", "p99 ms")
_REFUSALS = ("RESOURCE_EXHAUSTED", "503")
_SETTLE_S = 0.5  # between two loads
_ENGINE_S = 2.0
_WARM_UP_S, _WARM_UP_LOAD = 2.0, 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one load.

    Attributes:
        server: name.
        batch: frames in a batch of a peer; None for ours.
        load: relative to the engine alone.
        sent: requests.
        in_time: share that was answered in time.
        late: share that was accepted but not answered in time, or failed.
        refused: share that was refused on arrival.
        p50_ms: median latency of the answers.
        p99_ms: 99th percentile of the latency of the answers.
        failures: errors by status.
    """

    server: str
    batch: int | None
    load: float
    sent: int
    in_time: float
    late: float
    refused: float
    p50_ms: float
    p99_ms: float
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class Contender:
    """A server with its settings.

    Attributes:
        name: in the table.
        serve: runs it in its process.
        batching: of a peer; None for ours.
        protocol: see `Load`.
        method: see `Load`.
        messages: see `Load`.
    """

    name: str
    serve: Callable[..., None]
    batching: Batching | None
    protocol: str
    method: str
    messages: list[bytes]


def camera_jpegs(model: Model) -> list[bytes]:
    """One JPEG for each device: a smooth picture with sensor noise, of a usual size and decoding time."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    jpegs = []
    for _ in range(DEVICES):
        a, b, c = rng.uniform(1, 9, 3)
        waves = np.stack([np.sin(a * rows + b * columns), np.cos(b * rows * columns), np.sin(c * columns)], axis=-1)
        frame = np.clip(128 + 90 * waves + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8)
        jpegs.append(encode_input(frame, PAYLOAD, model.preprocessing.normalise))
    return jpegs


def contenders(service: Service) -> list[Contender]:
    """All servers that are installed."""
    model = random_model(service.model, service.blocks)
    jpegs, unmerged = camera_jpegs(model), (0,) * model.shape.blocks
    requests = [
        Request(model.fingerprint, PAYLOAD.name, 0, unmerged, 0, 0, service.deadline_s, f"device {index}", jpeg)
        for index, jpeg in enumerate(jpegs)
    ]
    found = [Contender(OURS, serve_cloud, None, "grpc", INFER, [serialise_request(each) for each in requests])]
    if installed(PACKAGES[LITSERVE]):
        from _serve_litserve import serve_litserve

        bodies = [json.dumps({"image": base64.b64encode(jpeg).decode()}).encode() for jpeg in jpegs]
        found += [Contender(LITSERVE, serve_litserve, each, HTTP, PATH, bodies) for each in SETTINGS[LITSERVE]]
    if installed(PACKAGES[RAY]):
        from _serve_ray import serve_ray

        found += [Contender(RAY, serve_ray, each, HTTP, PATH, jpegs) for each in SETTINGS[RAY]]
    return found


def installed(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def measure(
    contender: Contender, service: Service, generator: LoadGenerator, loads: Sequence[float], seconds: float
) -> Iterator[Row]:
    """Start a server and send it one load after the other."""
    settings = () if contender.batching is None else (contender.batching,)
    with running(contender.serve, service, *settings) as port:

        def send(load: float, seconds: float) -> Outcomes:
            time.sleep(_SETTLE_S)
            rate = load / service.frame_s
            messages, method, protocol = contender.messages, contender.method, contender.protocol
            return generator.send(Load(port, method, messages, rate, seconds, service.deadline_s, protocol))

        send(_WARM_UP_LOAD, _WARM_UP_S)
        for load in loads:
            yield as_row(contender, load, send(load, seconds))


def as_row(contender: Contender, load: float, outcomes: Outcomes) -> Row:
    """The figures of one load."""
    sent = max(1, outcomes.sent)
    refused = sum(count for status, count in outcomes.failures.items() if status in _REFUSALS)
    latencies_ms = 1e3 * np.array(outcomes.latencies_s or [np.nan])
    return Row(
        server=contender.name,
        batch=None if contender.batching is None else contender.batching.frames,
        load=load,
        sent=outcomes.sent,
        in_time=outcomes.in_time / sent,
        late=(outcomes.sent - outcomes.in_time - refused) / sent,
        refused=refused / sent,
        p50_ms=float(np.median(latencies_ms)),
        p99_ms=float(np.percentile(latencies_ms, 99)),
        failures=outcomes.failures,
    )


def best_rows(rows: Sequence[Row]) -> list[Row]:
    """For each load and server the batch with most requests in time."""
    best: dict[tuple[float, str], Row] = {}
    for row in rows:
        key = row.load, row.server
        if key not in best or row.in_time > best[key].in_time:
            best[key] = row
    return sorted(best.values(), key=lambda row: row.load)


def print_table(rows: Sequence[Row]) -> None:
    """Print the best rows for people."""
    print(HEAD)
    for row in best_rows(rows):
        print(line_of(row))


def line_of(row: Row) -> str:
    """A line of the table."""
    shares = (f"{100 * share:.1f}" for share in (row.in_time, row.late, row.refused))
    times = (f"{time_ms:.0f}" for time_ms in (row.p50_ms, row.p99_ms))
    return LINE.format(f"{row.load:.0%}", row.server, row.batch or "", row.sent, *shares, *times)


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="vit-tiny", help="size of the model")
    parser.add_argument("--blocks", type=int, default=4, help="depth of the model")
    parser.add_argument("--engine", default="packed", help="of all servers")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="two loads, half as long")
    parser.add_argument("--servers", default=",".join(NAMES), help="names, separated by commas")
    options = parser.parse_args()
    loads, seconds = (QUICK_LOADS, options.seconds / 2) if options.quick else (LOADS, options.seconds)
    peers = {name: installed(package) for name, package in PACKAGES.items()}
    engine = options.model, options.blocks, options.engine
    with load_cores(), LoadGenerator() as generator:
        before_s = engine_alone_s(*engine, _ENGINE_S)
        service = Service(*engine, before_s, max(DEADLINE_S, DEADLINE_FRAMES * before_s))
        print_set_up(service, peers)
        rows = []
        print(HEAD, file=sys.stderr)
        for contender in contenders(service):
            if contender.name in options.servers.split(","):
                for row in measure(contender, service, generator, loads, seconds):
                    rows.append(row)
                    print(line_of(row), file=sys.stderr, flush=True)
        after_s = engine_alone_s(*engine, _ENGINE_S)
    print_table(rows)
    print(f"engine alone at the end: {1 / after_s:.1f} frames/s")
    measured = {"service": asdict(service), "after_s": after_s, "peers": peers, "rows": [asdict(row) for row in rows]}
    print_json("serving_peers", 1, measured)


def print_set_up(service: Service, peers: Mapping[str, str | None]) -> None:
    """Say what is measured."""
    print(
        f"{service.model} with {service.blocks} blocks at {SIDE} px on engine {service.engine}: "
        f"{1 / service.frame_s:.1f} frames/s alone, deadline {1e3 * service.deadline_s:.0f} ms, {DEVICES} devices"
    )
    for name, found in peers.items():
        print(f"{name} {found}" if found else f"{name} is not installed and is left out")


if __name__ == "__main__":
    main()
