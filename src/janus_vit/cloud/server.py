"""A cloud on the network: model, engine, scheduler and gRPC server in one object."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType

from janus_vit.cloud.batch_runner import BatchRunner
from janus_vit.cloud.grpc_server import GrpcServer
from janus_vit.cloud.ingest import Ingest
from janus_vit.cloud.loop import EngineLoop
from janus_vit.cloud.measure import measure_costs
from janus_vit.cloud.metrics import CloudMetrics, MetricsPage
from janus_vit.cloud.processes.ingest_pool import IngestPool, IngestSetup, PortReservation
from janus_vit.cloud.service import CloudService
from janus_vit.cloud.tls import ServerTls
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine, OneByOne
from janus_vit.model.engines.factory import engine_for
from janus_vit.model.engines.registry import AUTO
from janus_vit.planning.latency import PlatformProfile
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable, profile_costs
from janus_vit.scheduling.estimate import full_batch_s
from janus_vit.scheduling.scheduler import Load, Scheduler
from janus_vit.wire.messages import Greeting

_POLL_S = 0.02
_GRACE_S = 1.0  # time for answers that are being sent


@dataclass(frozen=True, slots=True)
class Capacity:
    """Throughput of an engine.

    Attributes:
        engine: name of the engine.
        device: CPU or GPU that it runs on.
        precision: precision that it computes in.
        batch_frames: number of frames in its fastest batch.
        frames_per_s: unmerged frames per second in such batches.
    """

    engine: str
    device: str
    precision: str
    batch_frames: int
    frames_per_s: float

    @classmethod
    def of(cls, model: Model, engine: Engine, costs: CostTable, max_frames: int) -> Capacity:
        """Compute the throughput from the engine's cost table."""
        rates = {frames: frames / full_batch_s(costs, model.shape, frames) for frames in range(1, max_frames + 1)}
        best = max(rates, key=rates.__getitem__)
        return cls(engine.name, str(engine.device), engine.precision, best, rates[best])

    def __str__(self) -> str:
        batch = f"in batches of {self.batch_frames}" if self.batch_frames > 1 else "one by one"
        rate = f"{self.frames_per_s:,.0f} frames/s {batch}"
        return f"engine {self.engine} on {self.device} in {self.precision}, {rate}"


class Cloud:
    """Serves one model to any number of devices until it is closed.

    Args:
        model: the model to serve.
        profile: latency profile of this machine (`janus-vit profile`); devices get it when they connect.
        listen: "host:port"; port 0 picks a free one, see `port`.
        tls: certificate and key; None serves without TLS.
        engine: the engine or its name; default: the fastest one that computes in float32.
        config: limits.
        costs: times of batches; default: measured now if the engine runs batches, otherwise taken from the profile.

    Raises:
        InputError: the cloud cannot listen on the address, or the engine cannot be used.
    """

    def __init__(
        self,
        model: Model,
        profile: PlatformProfile,
        listen: str = "127.0.0.1:0",
        tls: ServerTls | None = None,
        engine: Engine | str = AUTO,
        config: CloudConfig | None = None,
        costs: CostTable | None = None,
    ) -> None:
        runner = engine_for(model, engine)
        self._config = config_for(runner, config or CloudConfig())
        self._closed = threading.Event()
        self.metrics = CloudMetrics()
        batches = BatchRunner(model, runner)
        batches.warm_up()
        table = costs or costs_of(model, runner, profile, self._config)
        self._capacity = Capacity.of(model, runner, table, self._config.max_batch_frames)
        scheduler = Scheduler(table, model.shape.blocks, self._config)
        self._loop = EngineLoop(scheduler, batches, self.metrics.batch_ran)
        blocks = _announced(scheduler, self._config)
        self._greeting = Greeting(model.name, model.fingerprint, profile.to_json(), blocks)
        host = listen.rpartition(":")[0]
        port = self._config.metrics_port
        try:
            self._page = None if port is None else MetricsPage(self.metrics, host.strip("[]"), port)
            front = _ManyProcesses if self._config.ingest_processes else _OneProcess
            setup = IngestSetup(self._greeting, model.shape, listen, self._config, tls, self._loop.load())
            self._front = front(setup, self._loop, self.metrics)
        except BaseException:
            self._loop.close()
            raise
        self.port = self._front.port
        self.metrics.ready(True)

    @property
    def capacity(self) -> Capacity:
        """Throughput of the engine, for display."""
        return self._capacity

    @property
    def metrics_port(self) -> int | None:
        """TCP port of the Prometheus page, None if there is none."""
        return None if self._page is None else self._page.port

    @property
    def ingest_process_ids(self) -> list[int]:
        """Process numbers of the ingest processes; empty if this process receives the requests."""
        return self._front.process_ids

    def greeting(self) -> Greeting:
        """The greeting that devices get when they connect."""
        return self._greeting

    def load(self) -> Load:
        """Expected wait and price of a request that arrives now."""
        return self._loop.load()

    def wait(self) -> None:
        """Serve until `close` or an interrupt."""
        self._closed.wait()

    def drain(self) -> None:
        """Refuse new requests, and wait for the admitted ones, at most `CloudConfig.drain_s` seconds."""
        self.metrics.ready(False)
        self._front.drain()
        until_s = time.perf_counter() + self._config.drain_s
        while self._loop.load().waiting and time.perf_counter() < until_s:
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Stop at once. Waiting requests fail, and their devices finish the frames. To answer them, `drain` first."""
        if self._closed.is_set():
            return
        self._closed.set()
        self.metrics.ready(False)
        self._loop.close()
        self._front.close()
        if self._page is not None:
            self._page.close()

    def __enter__(self) -> Cloud:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _OneProcess:
    """Run gRPC in the engine's process."""

    def __init__(self, setup: IngestSetup, loop: EngineLoop, metrics: CloudMetrics) -> None:
        ingest = Ingest(setup.shape, setup.greeting.fingerprint)
        self._service = CloudService(setup.greeting, ingest, loop, metrics.request_ended)
        self._server = GrpcServer(self._service, setup.address, setup.config, setup.tls and setup.tls.credentials())
        self.port = self._server.port
        self.process_ids: list[int] = []

    def drain(self) -> None:
        self._service.drain()
        self._server.drain()

    def close(self) -> None:
        self._server.stop(grace_s=_GRACE_S)


class _ManyProcesses:
    """Run gRPC in separate processes."""

    def __init__(self, setup: IngestSetup, loop: EngineLoop, metrics: CloudMetrics) -> None:
        self._reserved = PortReservation(setup.address)
        try:
            self._pool = IngestPool(replace(setup, address=self._reserved.address), loop, metrics.request_ended)
        except BaseException:
            self._reserved.close()
            raise
        self.port = self._reserved.port

    @property
    def process_ids(self) -> list[int]:
        return self._pool.process_ids

    def drain(self) -> None:
        self._pool.drain()

    def close(self) -> None:
        self._pool.close()
        self._reserved.close()


def _announced(scheduler: Scheduler, config: CloudConfig) -> tuple[int, ...]:
    """Entry blocks to announce; none if the engine runs frames one by one, so that shared blocks gain nothing."""
    return scheduler.entry_blocks if config.max_batch_frames > 1 else ()


def config_for(engine: Engine, config: CloudConfig) -> CloudConfig:
    """Adapt the limits to an engine: an engine that gains nothing from batches runs each frame alone to its end."""
    return config.one_by_one() if isinstance(engine, OneByOne) else config


def costs_of(model: Model, engine: Engine, profile: PlatformProfile, config: CloudConfig) -> CostTable:
    """Times of batches on an engine: from the profile if it runs frames one by one, otherwise measured."""
    if isinstance(engine, OneByOne):
        return profile_costs(profile, model.shape)
    return measure_costs(model, engine, config.max_batch_frames)
