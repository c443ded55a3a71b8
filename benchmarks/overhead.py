"""Measure the runtime's own overhead for each frame on loopback, beside a bare gRPC echo of the same size.

    python benchmarks/overhead.py

Streams frames with a payload of 100 kB, the float32 input of a small model, to a cloud in another process. The model
computes almost nothing. Overhead is the total time minus device, encode, decode, queue, cloud and sending times, minus
the round trip of an empty call.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection

import grpc
import numpy as np
import torch
from _common import median_p99, print_json, timed_ms

from janus_vit.calibration.profiler import profile_machine
from janus_vit.cloud.server import Cloud
from janus_vit.model.catalog import Model
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.runtime.connect import connect
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.wire.answer_check import Outputs

SIDE = 92  # 3 * 92 * 92 * 4 = 101,568 bytes
ROUNDS, WARM_UP = 400, 50
LIMIT_MS = 2.0


def tiny_model() -> Model:
    """Make a model whose float32 input is 100 kB and whose blocks take almost no time."""
    torch.manual_seed(0)
    network = VisionTransformer(Architecture(SIDE, 46, 16, 1, 2, 32, 10)).eval().requires_grad_(False)
    return Model("overhead", network, Preprocessing(SIDE), tuple("0123456789"))


def serve(pipe: Connection) -> None:
    """Run a cloud and an echo server until the other end of the pipe is closed; send their ports."""
    torch.set_num_threads(1)
    model = tiny_model()
    profile = profile_machine(model, [np.zeros((SIDE, SIDE, 3), np.uint8)])
    echo = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    echo.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", {"Echo": handler}),))
    echo_port = echo.add_insecure_port("127.0.0.1:0")
    echo.start()
    with Cloud(model, profile) as cloud:
        pipe.send((cloud.port, echo_port))
        pipe.poll(None)
    echo.stop(0)


@contextmanager
def other_process() -> Iterator[tuple[int, int]]:
    """Start `serve` in another process; yield the ports of the cloud and of the echo server."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join(5.0)


def main() -> None:
    """Print the table and the JSON line."""
    torch.set_num_threads(1)
    model = tiny_model()
    frame = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    profile = profile_machine(model, [frame])
    with other_process() as (port, echo_port):
        transport = GrpcTransport(f"127.0.0.1:{port}", Outputs(10))
        empty_ms = statistics.median(timed_ms(lambda: transport.hello(5.0), ROUNDS, WARM_UP))
        transport.close()
        with grpc.insecure_channel(f"127.0.0.1:{echo_port}") as channel:
            call, body = channel.unary_unary("/echo/Echo"), bytes(4 * 3 * SIDE * SIDE)
            echo_ms = median_p99(timed_ms(lambda: call(body), ROUNDS, WARM_UP))
        device = connect(model, f"127.0.0.1:{port}", profile, sla_s=1.0, policy="cloud-only")
        outcomes = []
        for _ in range(WARM_UP + ROUNDS):
            outcomes.append(device.infer(frame))
            time.sleep(0.001)
        device.close()
    parts = [outcome.measured for outcome in outcomes[WARM_UP:]]
    total = [1e3 * part.total_s for part in parts]
    work = [1e3 * (p.device_s + p.encode_s + p.decode_s + p.queue_s + p.cloud_s + p.send_s) for p in parts]
    overhead = [max(0.0, whole - known - empty_ms) for whole, known in zip(total, work, strict=True)]
    rows: list[dict[str, object]] = []
    print(f"{'what':<44} {'median ms':>10} {'p99 ms':>8}")
    for name, (median_ms, p99_ms) in {
        "frame, all of it": median_p99(total),
        "  compute, encode, decode, queue, sending": median_p99(work),
        "  empty call, the round trip here": (round(empty_ms, 5), float("nan")),
        "  overhead, the rest": median_p99(overhead),
        f"peer: bare gRPC echo of {4 * 3 * SIDE * SIDE} bytes": echo_ms,
    }.items():
        print(f"{name:<44} {median_ms:10.3f} {p99_ms:8.3f}")
        rows.append({"what": name.strip(), "median_ms": median_ms, "p99_ms": p99_ms if p99_ms == p99_ms else None})
    print(f"limit of the overhead's median: {LIMIT_MS} ms")
    print_json("overhead", WARM_UP, rows)


if __name__ == "__main__":
    main()
