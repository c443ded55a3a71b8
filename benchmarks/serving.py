"""What serving costs beside the engine: CPU time of a request, batches, and late requests under load.

    python benchmarks/serving.py

64 devices in other processes send JPEGs of 224 px over loopback to a cloud whose engine takes 2 ms a batch and 0.1 ms a
frame and computes nothing, so that all CPU time is that of serving. Peers: a bare gRPC echo of the same bytes, plus
decoding the same JPEGs in a loop; and an echo that decodes each JPEG, whose caches are as cold as a server's. Load is
relative to what the server answers when devices never pause.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

import grpc
import numpy as np
import torch
from _common import print_json
from _load_generator import Load, Outcomes, send_load

from janus_vit.cli.common.responsive import quick_answers
from janus_vit.cloud.server import Cloud
from janus_vit.model.catalog import Model
from janus_vit.model.engines.known_time import KnownTimeEngine
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.latency import Cost, Curve, PlatformProfile
from janus_vit.planning.payloads import parse_payload
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import constant_costs
from janus_vit.wire.inputs import decode_pixels, encode_input
from janus_vit.wire.messages import Request, parse_request, serialise_request
from janus_vit.wire.rpc import INFER

SIDE, DEVICES, DEADLINE_S = 224, 64, 0.15
FIXED_S, FRAME_S = 2e-3, 1e-4
LIMIT_RATIO, LIMIT_LATE, LIMIT_BATCH = 1.25, 0.001, 0.5
ECHO = "/echo/Echo"


@dataclass(frozen=True, slots=True)
class Row:
    """One load."""

    what: str
    offered_per_s: float
    answered_per_s: float
    cpu_us: float
    mean_batch: float
    batch_allowed: float
    late_share: float
    p50_ms: float
    p99_ms: float


class LeftAsDecoded(Preprocessing):
    """Leaves pixels as they are: normalising them is work of the engine's device, which computes nothing here."""

    def normalise_batch(self, frames: torch.Tensor) -> torch.Tensor:
        """The same frames."""
        return frames


def model_224() -> Model:
    """A model of 12 blocks at 224 px; its weights are never used."""
    torch.manual_seed(0)  # all processes have the same weights, so the same fingerprint
    network = VisionTransformer(Architecture(SIDE, 16, 48, 12, 3, 96, 10)).eval().requires_grad_(False)
    return Model("serving", network, LeftAsDecoded(SIDE), tuple("0123456789"))


def free_profile(model: Model) -> PlatformProfile:
    """A profile that a cloud needs and nobody reads here."""
    curve, cost = Curve(1e-4, 1e-6, 0.0, 0.0, 0.0, 0.0, 1.0), Cost(1e-4, 0.0)
    return PlatformProfile(model.name, 1e-4, 1e-4, curve, curve, cost, {}, {}, {}, {})


def camera_frames(count: int) -> list[np.ndarray]:
    """Smooth pictures with sensor noise, which take a JPEG's usual size and decoding time."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    frames = []
    for _ in range(count):
        a, b, c = rng.uniform(1, 9, 3)
        waves = np.stack([np.sin(a * rows + b * columns), np.cos(b * rows * columns), np.sin(c * columns)], axis=-1)
        frames.append(np.clip(128 + 90 * waves + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8))
    return frames


def requests(model: Model) -> list[bytes]:
    """One message for each device."""
    payload, normalise = parse_payload("jpeg90"), model.preprocessing.normalise
    bodies = [encode_input(frame, payload, normalise) for frame in camera_frames(DEVICES)]
    merges = (0,) * model.shape.blocks
    return [
        serialise_request(Request(model.fingerprint, "jpeg90", 0, merges, 0, 0, DEADLINE_S, f"device {index}", body))
        for index, body in enumerate(bodies)
    ]


def cpu_s() -> float:
    """CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def serve_cloud(pipe: Connection, ingest: int) -> None:
    """The server's process: answers "read" with CPU seconds, frames and batches so far."""
    torch.set_num_threads(1)
    model = model_224()
    costs = constant_costs(FIXED_S, FRAME_S, model.shape.blocks)
    config = CloudConfig(ingest_processes=ingest)
    engine = KnownTimeEngine(model, FIXED_S, FRAME_S)
    with (
        Cloud(model, free_profile(model), engine=engine, config=config, costs=costs) as cloud,
        quick_answers(),  # as `janus-vit cloud`
    ):
        _answer(pipe, cloud.port, lambda: (cpu_s(), *_batches(cloud)))


def serve_echo(pipe: Connection, decodes: bool) -> None:
    """The peer's process: gRPC alone, with the same event loop."""
    payload, shape = parse_payload("jpeg90"), (3, SIDE, SIDE)

    async def serve() -> None:
        async def echo(requests: object, context: grpc.aio.ServicerContext) -> bytes:
            message: bytes = await context.read()
            if decodes:
                decode_pixels(parse_request(message).body, payload, shape)
            return message

        server = grpc.aio.server()
        handler = grpc.stream_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", {"Echo": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await asyncio.to_thread(_answer, pipe, port, lambda: (cpu_s(), 0.0, 0.0))
        await server.stop(None)

    asyncio.run(serve())


def _answer(pipe: Connection, port: int, read: Callable[[], tuple[float, float, float]]) -> None:
    pipe.send(port)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(read())


def _batches(cloud: Cloud) -> tuple[float, float]:
    """Frames in batches and batches so far, by the cloud's own metrics."""
    value = cloud.metrics.registry.get_sample_value
    return value("janus_batch_frames_sum") or 0.0, value("janus_batch_frames_count") or 0.0


class Server:
    """A server in another process."""

    def __init__(self, target: Callable[..., None], *args: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *args))
        self._process.start()
        theirs.close()
        self.port: int = self._pipe.recv()

    def read(self) -> np.ndarray:
        """CPU seconds, frames in batches and batches."""
        self._pipe.send("read")
        return np.array(self._pipe.recv())

    def close(self) -> None:
        """Stop it."""
        self._pipe.close()
        self._process.join(10.0)


@contextmanager
def running(target: Callable[..., None], *args: object) -> Iterator[Server]:
    """A server until the block ends."""
    server = Server(target, *args)
    try:
        yield server
    finally:
        server.close()


def measure(what: str, server: Server, method: str, messages: list[bytes], rate: float | None, seconds: float) -> Row:
    """Send one load and say what it cost."""
    before = server.read()
    outcomes = send_load(Load(server.port, method, messages, rate, seconds, DEADLINE_S))
    used_s, frames, batches = server.read() - before
    return as_row(what, outcomes, used_s, frames / batches if batches else 0.0)


def as_row(what: str, outcomes: Outcomes, used_s: float, mean_batch: float) -> Row:
    """A load's figures."""
    rate = outcomes.sent / outcomes.elapsed_s
    latencies_ms = 1e3 * np.array(outcomes.latencies_s or [np.nan])
    answered = len(outcomes.latencies_s)
    return Row(
        what=what,
        offered_per_s=rate,
        answered_per_s=answered / outcomes.elapsed_s,
        cpu_us=1e6 * used_s / max(1, outcomes.sent),
        mean_batch=mean_batch,
        batch_allowed=max(1.0, rate * FIXED_S / max(1e-9, 1 - rate * FRAME_S)),
        late_share=outcomes.late_share,
        p50_ms=float(np.median(latencies_ms)),
        p99_ms=float(np.percentile(latencies_ms, 99)),
    )


def decode_us(model: Model) -> float:
    """CPU time of decoding one of the JPEGs."""
    payload, normalise = parse_payload("jpeg90"), model.preprocessing.normalise
    bodies = [encode_input(frame, payload, normalise) for frame in camera_frames(DEVICES)]
    for body in bodies:
        decode_pixels(body, payload, model.shape.input_shape)
    began_s = time.process_time()
    for body in bodies * 5:
        decode_pixels(body, payload, model.shape.input_shape)
    return 1e6 * (time.process_time() - began_s) / (5 * len(bodies))


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--ingest", type=int, default=0, help="ingest processes of the cloud")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = model_224()
    messages = requests(model)
    rows = []
    with running(serve_cloud, options.ingest) as cloud:
        measure("warm-up", cloud, INFER, messages, None, 2.0)
        rows.append(measure("no pause", cloud, INFER, messages, None, options.seconds))
        for share in (0.2, 0.5, 0.8):
            rate = share * rows[0].answered_per_s
            rows.append(measure(f"{share:.0%} load", cloud, INFER, messages, rate, options.seconds))
    echoes = measure_echo(messages, rows[1:], options.seconds, decodes=False)
    decoders = measure_echo(messages, rows[1:], options.seconds, decodes=True)
    decoding_us = decode_us(model)
    print_table(rows, echoes, decoders, decoding_us)
    found = [asdict(row) for row in rows + echoes + decoders]
    print_json("serving", 1, {"rows": found, "decode_us": decoding_us})


def measure_echo(messages: list[bytes], rows: list[Row], seconds: float, decodes: bool) -> list[Row]:
    """The peer under the same loads."""
    name = "decoding echo" if decodes else "echo"
    with running(serve_echo, decodes) as echo:
        measure("warm-up", echo, ECHO, messages, None, 1.0)
        return [measure(f"{name} at {row.what}", echo, ECHO, messages, row.offered_per_s, seconds) for row in rows]


def print_table(rows: list[Row], echoes: list[Row], decoders: list[Row], decoding_us: float) -> None:
    """For people."""
    print(f"decoding a JPEG in a loop: {decoding_us:.0f} us of CPU time")
    head = (
        "load", "sent/s", "answered/s", "CPU us", "decode + echo", "ratio", "decoding echo", "ratio", "mean batch",
        "allowed", "late %", "p50 ms", "p99 ms",
    )  # fmt: skip
    print(("{:<10}" + "{:>14}" * (len(head) - 1)).format(*head))
    for row, echo, decoder in zip(rows, [None, *echoes], [None, *decoders], strict=True):
        bare = [] if echo is None or decoder is None else [decoding_us + echo.cpu_us, decoder.cpu_us]
        peers = [cell for peer in bare for cell in (f"{peer:.0f}", f"{row.cpu_us / peer:.2f}")] or [""] * 4
        cells = (
            row.what, f"{row.offered_per_s:.0f}", f"{row.answered_per_s:.0f}", f"{row.cpu_us:.0f}", *peers,
            f"{row.mean_batch:.2f}", f"{row.batch_allowed:.2f}", f"{100 * row.late_share:.2f}",
            f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}",
        )  # fmt: skip
        print(("{:<10}" + "{:>14}" * (len(cells) - 1)).format(*cells))
    print(f"limits: ratio {LIMIT_RATIO}, mean batch {LIMIT_BATCH} of allowed, late {LIMIT_LATE:.1%} at 80% load")


if __name__ == "__main__":
    main()
