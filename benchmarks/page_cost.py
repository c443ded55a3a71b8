"""Measure what the live page costs serving: CPU time and latency of requests without it, unseen, and with browsers.

    python benchmarks/page_cost.py

The load of `serving.py`: 64 devices in other processes send JPEGs to a cloud whose engine computes nothing. Two
programs in another process read the events of the page as browsers do. The three clouds take turns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from statistics import median

import torch
from _common import print_json
from _load_generator import Load, LoadGenerator
from serving import DEADLINE_S, FIXED_S, FRAME_S, Row, as_row, cpu_s, free_profile, model_224, requests, running

from janus_vit.cli.common.responsive import quick_answers
from janus_vit.cloud.server import Cloud
from janus_vit.cloud.watching.events import EventBuffer
from janus_vit.live_page.cloud_feed import CloudFeed
from janus_vit.live_page.server import LivePage
from janus_vit.model.engines.known_time import KnownTimeEngine
from janus_vit.scheduling.costs import constant_costs
from janus_vit.wire.rpc import INFER

BROWSERS = {"without the page": None, "page that nobody sees": 0, "page in two browsers": 2}


def serve(pipe: Connection, browsers: int | None) -> None:
    """The server's process: answers each message with CPU seconds so far, of the server alone."""
    torch.set_num_threads(1)
    model, events = model_224(), EventBuffer()
    engine = KnownTimeEngine(model, FIXED_S, FRAME_S)
    costs = constant_costs(FIXED_S, FRAME_S, model.shape.blocks)
    on_event = None if browsers is None else events.add
    with ExitStack() as stack:
        cloud = stack.enter_context(Cloud(model, free_profile(model), engine=engine, costs=costs, on_event=on_event))
        if browsers is not None:
            page = stack.enter_context(LivePage(CloudFeed(events, cloud.metrics.registry, ""), "127.0.0.1:0"))
            stack.enter_context(reading(f"{page.url}events", browsers))
        stack.enter_context(quick_answers())
        pipe.send(cloud.port)
        with suppress(EOFError):
            while True:
                pipe.recv()
                pipe.send((cpu_s(), 0.0, 0.0))


@contextmanager
def reading(url: str, browsers: int) -> Iterator[None]:
    """Read the events of a page in other processes until the block ends."""
    context = multiprocessing.get_context("spawn")
    readers = [context.Process(target=read, args=(url,), daemon=True) for _ in range(browsers)]
    for reader in readers:
        reader.start()
    time.sleep(1.0 if readers else 0.0)
    yield
    for reader in readers:
        reader.terminate()
        reader.join()


def read(url: str) -> None:
    """Read events without end."""
    with urllib.request.urlopen(url) as events:
        while events.readline():
            pass


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each run")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each cloud, for both loads")
    chosen = parser.parse_args()
    messages = requests(model_224())
    rows: dict[tuple[str, float | None], list[Row]] = {}
    with LoadGenerator() as generator:
        for _ in range(chosen.rounds):
            for what, browsers in BROWSERS.items():
                with running(serve, browsers) as server:
                    generator.send(Load(server.port, INFER, messages, chosen.rate, 1.0, DEADLINE_S))  # warm-up
                    for rate in (chosen.rate, None):
                        before_s = server.read()[0]
                        outcomes = generator.send(Load(server.port, INFER, messages, rate, chosen.seconds, DEADLINE_S))
                        row = as_row(what, outcomes, server.read()[0] - before_s, mean_batch=0.0)
                        rows.setdefault((what, rate), []).append(row)
    print("| cloud | load | answered/s | CPU for a request, us | p50, ms | p99, ms |\n|---|---|---|---|---|---|")
    for (what, rate), found in rows.items():
        load = "without pauses" if rate is None else f"{rate:g}/s"
        middle = {key: median(asdict(each)[key] for each in found) for key in ("answered_per_s", "cpu_us")}
        p50, p99 = median(each.p50_ms for each in found), median(each.p99_ms for each in found)
        answered, used_us = middle["answered_per_s"], middle["cpu_us"]
        print(f"| {what} | {load} | {answered:.0f} | {used_us:.0f} | {p50:.1f} | {p99:.1f} |")
    print_json("page_cost", warm_up=1, rows=[asdict(row) for found in rows.values() for row in found])


if __name__ == "__main__":
    main()
