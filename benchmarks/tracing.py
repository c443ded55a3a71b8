"""Measure what traces cost a frame: CPU time of device and cloud together, and latency, by share of traced frames.

    python benchmarks/tracing.py

Device and cloud run in one process, over gRPC on loopback; the model computes almost nothing. A collector in another
process receives the spans with OTLP over gRPC. Rounds without a tracer, and with shares of 0, 1 and 100 %, take turns.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from statistics import median

import grpc
import numpy as np
import torch
from _common import median_p99, print_json
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from overhead import SIDE, tiny_model

from janus_vit import connect, profile_machine
from janus_vit.cloud.server import Cloud
from janus_vit.runtime.device import Device
from janus_vit.tracing.frames import FrameTracer
from janus_vit.tracing.opentelemetry import SpanExport
from janus_vit.tracing.request_spans import request_spans

SHARES = (None, 0.0, 0.01, 1.0)
FRAMES, ROUNDS, WARM_UP = 150, 8, 50


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Counts the spans that it receives."""

    def __init__(self) -> None:
        self.spans = 0

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: object) -> object:  # noqa: N802
        """Take a batch of spans."""
        self.spans += sum(len(scope.spans) for each in request.resource_spans for scope in each.scope_spans)
        return trace_service_pb2.ExportTraceServiceResponse()


def collect(pipe: Connection) -> None:
    """Receive spans until asked for their number."""
    server, collector = grpc.server(ThreadPoolExecutor(1)), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    pipe.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    pipe.recv()
    pipe.send(collector.spans)
    server.stop(0)


@contextmanager
def collecting() -> Iterator[Connection]:
    """Run a collector, and point the exporters of this process to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=collect, args=(theirs,), daemon=True)
    process.start()
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{ours.recv()}"
    yield ours
    process.join()


def measure(device: Device, frame: np.ndarray) -> tuple[float, list[float]]:
    """CPU time for each frame in microseconds, and latencies in milliseconds."""
    began_s = time.process_time()
    latencies = [1e3 * device.infer(frame).measured.total_s for _ in range(FRAMES)]
    return 1e6 * (time.process_time() - began_s) / FRAMES, latencies


def main() -> None:
    """Print a table and a JSON line."""
    torch.set_num_threads(1)
    model, frame = tiny_model(), np.zeros((SIDE, SIDE, 3), np.uint8)
    profile = profile_machine(model, [frame])
    cpu_us: dict[float | None, list[float]] = {share: [] for share in SHARES}
    latencies: dict[float | None, list[float]] = {share: [] for share in SHARES}
    with collecting() as collector:
        with SpanExport("cloud") as export, SpanExport("device") as sink:
            tracers = {share: None if share is None else FrameTracer(share, sink) for share in SHARES}
            with Cloud(model, profile, on_trace=lambda traced: export.add(request_spans(traced))) as cloud:
                address = f"127.0.0.1:{cloud.port}"
                for turn in range(ROUNDS + 1):
                    for share, tracer in tracers.items():
                        with connect(model, address, profile, policy="cloud-only", tracer=tracer) as device:
                            for _ in range(WARM_UP):
                                device.infer(frame)
                            used_us, taken_ms = measure(device, frame)
                        if turn:
                            cpu_us[share].append(used_us)
                            latencies[share] += taken_ms
        collector.send("count")
        spans = collector.recv()
    report(cpu_us, latencies, spans)


def report(cpu_us: dict[float | None, list[float]], latencies: dict[float | None, list[float]], spans: int) -> None:
    """Print a table and a JSON line."""
    rows: list[dict[str, object]] = []
    print("| traced | CPU for a frame, us | more, us | p50, ms | p99, ms |\n|---|---|---|---|---|")
    base_us = median(cpu_us[None])
    for share in SHARES:
        name = "no tracer" if share is None else f"{100 * share:g} %"
        (p50, p99), used_us = median_p99(latencies[share]), median(cpu_us[share])
        print(f"| {name} | {used_us:.0f} | {used_us - base_us:+.0f} | {p50:.2f} | {p99:.2f} |")
        rows.append({"traced": name, "cpu_us": used_us, "p50_ms": p50, "p99_ms": p99})
    print(f"\nThe collector received {spans} spans.")
    print_json("tracing", warm_up=WARM_UP, rows=rows)


if __name__ == "__main__":
    main()
