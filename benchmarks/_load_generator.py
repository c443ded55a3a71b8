"""Devices that send prepared requests at a fixed rate, in processes of their own; and what became of the requests."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Protocol

import grpc

from janus_vit.wire.rpc import CONNECTION

HTTP = "http"
_OPTIONS = [*CONNECTION, ("grpc.use_local_subchannel_pool", 1)]  # as devices
_OK = 200


@dataclass(frozen=True, slots=True)
class Load:
    """What all devices together send.

    Attributes:
        port: of the server on this machine.
        method: gRPC path of a stream-unary method, or the path of an HTTP request.
        messages: one for each device.
        rate: requests a second, over all devices; None: each device sends its next request after the answer.
        seconds: for which they send.
        deadline_s: from sending to an answer that counts.
        protocol: "grpc" or "http"; the latter posts the messages.
    """

    port: int
    method: str
    messages: Sequence[bytes]
    rate: float | None
    seconds: float
    deadline_s: float
    protocol: str = "grpc"


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


class LoadGenerator:
    """Processes that share the devices of every load and send one load after the other.

    Args:
        processes: how many.
    """

    def __init__(self, processes: int = 2) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes, self._workers = [], []
        for index in range(processes):
            ours, theirs = context.Pipe()
            worker = context.Process(target=_send_parts, args=(theirs, index), daemon=True)
            worker.start()
            theirs.close()
            self._pipes.append(ours)
            self._workers.append(worker)

    def send(self, load: Load) -> Outcomes:
        """Send a load and wait for its end."""
        for index, pipe in enumerate(self._pipes):
            messages = load.messages[index :: len(self._pipes)]
            rate = None if load.rate is None else load.rate * len(messages) / len(load.messages)
            pipe.send(replace(load, messages=messages, rate=rate))
        for pipe in self._pipes:
            pipe.recv()  # connected
        for pipe in self._pipes:
            pipe.send("go")
        results: list[Outcomes] = [pipe.recv() for pipe in self._pipes]
        latencies_s = [latency for result in results for latency in result.latencies_s]
        failures: dict[str, int] = {}
        for result in results:
            for status, count in result.failures.items():
                failures[status] = failures.get(status, 0) + count
        return Outcomes(latencies_s, failures, load.deadline_s, max(result.elapsed_s for result in results))

    def close(self) -> None:
        """Stop the processes."""
        for pipe in self._pipes:
            pipe.close()
        for worker in self._workers:
            worker.join()

    def __enter__(self) -> LoadGenerator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def send_load(load: Load, processes: int = 2) -> Outcomes:
    """Send a load from fresh processes and wait for its end."""
    with LoadGenerator(processes) as generator:
        return generator.send(load)


def _send_parts(pipe: Connection, seed: int) -> None:
    while True:
        try:
            load: Load = pipe.recv()
        except EOFError:
            return
        pipe.send(asyncio.run(_Devices(load, pipe, random.Random(seed)).run()))


class _Device(Protocol):
    """One device's connection."""

    async def connect(self) -> None:
        """Open the connection."""

    async def request(self, message: bytes, timeout_s: float) -> str | None:
        """Send a message and wait for the answer; gives the status of a failure."""

    async def close(self) -> None:
        """Close the connection."""


class _GrpcDevice:
    """A device with a channel of its own."""

    def __init__(self, load: Load) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{load.port}", _OPTIONS)
        self._call = self._channel.stream_unary(load.method)

    async def connect(self) -> None:
        await self._channel.channel_ready()

    async def request(self, message: bytes, timeout_s: float) -> str | None:
        try:
            await self._call(iter([message]), timeout=timeout_s)
        except grpc.RpcError as error:
            return str(error.code().name)
        return None

    async def close(self) -> None:
        await self._channel.close()


class _HttpDevice:
    """A device with HTTP connections of its own, which stay open."""

    def __init__(self, load: Load) -> None:
        self._server = f"http://127.0.0.1:{load.port}"
        self._path = load.method
        self._session: Any = None

    async def connect(self) -> None:
        import aiohttp

        self._timeout = aiohttp.ClientTimeout
        self._error = aiohttp.ClientError
        self._session = aiohttp.ClientSession(self._server, connector=aiohttp.TCPConnector(limit=0))
        async with self._session.get("/") as answer:
            await answer.read()

    async def request(self, message: bytes, timeout_s: float) -> str | None:
        try:
            timeout = self._timeout(total=timeout_s)
            async with self._session.post(self._path, data=message, timeout=timeout) as answer:
                await answer.read()
                return None if answer.status == _OK else str(answer.status)
        except asyncio.TimeoutError:
            return "timeout"
        except self._error as error:
            return type(error).__name__

    async def close(self) -> None:
        await self._session.close()


class _Devices:
    """The devices of one process."""

    def __init__(self, load: Load, pipe: Connection, dice: random.Random) -> None:
        self._load = load
        self._pipe = pipe
        self._dice = dice
        self._latencies_s: list[float] = []
        self._failures: dict[str, int] = {}

    async def run(self) -> Outcomes:
        kind = _HttpDevice if self._load.protocol == HTTP else _GrpcDevice
        devices: list[_Device] = [kind(self._load) for _ in self._load.messages]
        await asyncio.gather(*(device.connect() for device in devices))
        self._pipe.send("connected")
        self._pipe.recv()
        began_s = time.perf_counter()
        await asyncio.gather(*map(self._send, devices, self._load.messages))
        elapsed_s = time.perf_counter() - began_s
        await asyncio.gather(*(device.close() for device in devices))
        return Outcomes(self._latencies_s, self._failures, self._load.deadline_s, min(elapsed_s, self._load.seconds))

    async def _send(self, device: _Device, message: bytes) -> None:
        end_s = time.perf_counter() + self._load.seconds
        if self._load.rate is None:
            while time.perf_counter() < end_s:
                await self._request(device, message)
            return
        interval_s = len(self._load.messages) / self._load.rate
        running = set()
        await asyncio.sleep(self._dice.random() * interval_s)  # cameras are not in step
        while (now_s := time.perf_counter()) < end_s:
            task = asyncio.create_task(self._request(device, message))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(max(0.0, now_s + interval_s - time.perf_counter()))
        await asyncio.gather(*running)

    async def _request(self, device: _Device, message: bytes) -> None:
        began_s = time.perf_counter()
        failure = await device.request(message, self._load.deadline_s)
        if failure is None:
            self._latencies_s.append(time.perf_counter() - began_s)
        else:
            self._failures[failure] = self._failures.get(failure, 0) + 1
