"""Devices that send prepared requests at a fixed rate, in processes of their own; and what became of the requests."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import grpc

_SETTLE_S = 0.5
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


@dataclass(frozen=True, slots=True)
class Load:
    """What all devices together send.

    Attributes:
        port: of the server on this machine.
        method: gRPC path of a stream-unary method.
        messages: one for each device.
        rate: requests a second, over all devices; None: each device sends its next request after the answer.
        seconds: for which they send.
        deadline_s: from sending to an answer that counts.
    """

    port: int
    method: str
    messages: Sequence[bytes]
    rate: float | None
    seconds: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of the requests.

    Attributes:
        latencies_s: of those that were answered.
        failures: how many failed, by status.
        deadline_s: as in `Load`.
        elapsed_s: time for which requests were sent.
    """

    latencies_s: list[float]
    failures: dict[str, int]
    deadline_s: float
    elapsed_s: float

    @property
    def sent(self) -> int:
        """Requests that were sent."""
        return len(self.latencies_s) + sum(self.failures.values())

    @property
    def in_time(self) -> int:
        """Requests that were answered within the deadline."""
        return sum(latency_s <= self.deadline_s for latency_s in self.latencies_s)

    @property
    def late_share(self) -> float:
        """Share of the requests that were not answered in time, for whatever reason."""
        return 1 - self.in_time / self.sent if self.sent else 0.0


def send_load(load: Load, processes: int = 2) -> Outcomes:
    """Send a load from several processes and wait for its end."""
    context = multiprocessing.get_context("spawn")
    parts = [(load.messages[index::processes], index) for index in range(processes)]
    pipes, workers = [], []
    for messages, index in parts:
        ours, theirs = context.Pipe()
        share = None if load.rate is None else load.rate * len(messages) / len(load.messages)
        part = Load(load.port, load.method, messages, share, load.seconds, load.deadline_s)
        worker = context.Process(target=_send_part, args=(theirs, part, index), daemon=True)
        worker.start()
        pipes.append(ours)
        workers.append(worker)
    for pipe in pipes:
        pipe.recv()  # connected
    for pipe in pipes:
        pipe.send("go")
    results: list[Outcomes] = [pipe.recv() for pipe in pipes]
    for worker in workers:
        worker.join()
    latencies_s = [latency for result in results for latency in result.latencies_s]
    failures: dict[str, int] = {}
    for result in results:
        for status, count in result.failures.items():
            failures[status] = failures.get(status, 0) + count
    return Outcomes(latencies_s, failures, load.deadline_s, max(result.elapsed_s for result in results))


def _send_part(pipe: Connection, load: Load, seed: int) -> None:
    pipe.send(asyncio.run(_Devices(load, pipe, random.Random(seed)).run()))


class _Devices:
    """The devices of one process."""

    def __init__(self, load: Load, pipe: Connection, dice: random.Random) -> None:
        self._load = load
        self._pipe = pipe
        self._dice = dice
        self._latencies_s: list[float] = []
        self._failures: dict[str, int] = {}

    async def run(self) -> Outcomes:
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{self._load.port}", _OPTIONS) for _ in self._load.messages]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        self._pipe.send("connected")
        self._pipe.recv()
        began_s = time.perf_counter()
        await asyncio.gather(*map(self._device, channels, self._load.messages))
        elapsed_s = time.perf_counter() - began_s
        await asyncio.gather(*(channel.close() for channel in channels))
        return Outcomes(self._latencies_s, self._failures, self._load.deadline_s, min(elapsed_s, self._load.seconds))

    async def _device(self, channel: grpc.aio.Channel, message: bytes) -> None:
        call = channel.stream_unary(self._load.method)
        end_s = time.perf_counter() + self._load.seconds
        if self._load.rate is None:
            while time.perf_counter() < end_s:
                await self._request(call, message)
            return
        interval_s = len(self._load.messages) / self._load.rate
        running = set()
        await asyncio.sleep(self._dice.random() * interval_s)  # cameras are not in step
        while (now_s := time.perf_counter()) < end_s:
            task = asyncio.create_task(self._request(call, message))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(max(0.0, now_s + interval_s - time.perf_counter()))
        await asyncio.gather(*running)

    async def _request(self, call: grpc.aio.StreamUnaryMultiCallable, message: bytes) -> None:
        began_s = time.perf_counter()
        try:
            await call(iter([message]), timeout=self._load.deadline_s + _SETTLE_S)
        except grpc.RpcError as error:
            name = error.code().name
            self._failures[name] = self._failures.get(name, 0) + 1
            return
        self._latencies_s.append(time.perf_counter() - began_s)
