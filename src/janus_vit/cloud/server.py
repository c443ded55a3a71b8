"""A cloud on the network: model, engine, scheduler and gRPC server in one object."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TypeVar

from janus_vit.cloud.access.settings import Access, Gate
from janus_vit.cloud.engine_half import Capacity, EngineHalf
from janus_vit.cloud.loop import EngineLoop
from janus_vit.cloud.metrics import CloudMetrics, RequestRecord
from janus_vit.cloud.processes.ingest_pool import IngestPool, IngestSetup, PortReservation
from janus_vit.cloud.processes.pipe import Record
from janus_vit.cloud.rpc.server import GrpcServer
from janus_vit.cloud.watching.events import BatchRan, Event
from janus_vit.cloud.watching.metrics_page import MetricsPage
from janus_vit.errors import CloudFailed, described
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.registry import AUTO
from janus_vit.planning.latency import PlatformProfile
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable
from janus_vit.scheduling.job import Batch
from janus_vit.scheduling.scheduler import Load
from janus_vit.tracing.request_spans import RequestTrace
from janus_vit.wire.messages import Greeting

_LOG = logging.getLogger("janus_vit.cloud")
_POLL_S = 0.02
_LOOK_S = 0.5  # between two looks at whether every part still works
_GRACE_S = 1.0  # time for answers that are being sent
T = TypeVar("T")


class Cloud:
    """Serves one model to any number of devices until it is closed.

    Args:
        model: the model to serve.
        profile: latency profile of this machine (`janus-vit profile`); devices get it when they connect.
        listen: "host:port"; port 0 picks a free one, see `port`.
        access: who may call; the default serves everybody on this machine.
        engine: the engine or its name; default: the fastest one that computes in float32.
        config: limits.
        costs: times of batches; default: measured now if the engine runs batches, otherwise taken from the profile.
        on_event: called for every request that ends, every batch and every report of a stream, from several threads.
            The engine waits for it. None: nobody watches.
        on_trace: called for every request whose device traces it; None continues no traces.

    Raises:
        InputError: the cloud cannot listen on the address, strangers could use it there, or the engine cannot be used.
    """

    def __init__(
        self,
        model: Model,
        profile: PlatformProfile,
        listen: str = "127.0.0.1:0",
        access: Access | None = None,
        engine: Engine | str = AUTO,
        config: CloudConfig | None = None,
        costs: CostTable | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_trace: Callable[[RequestTrace], None] | None = None,
    ) -> None:
        access = access or Access()
        host = listen.rpartition(":")[0]
        access.check(host)
        gate = Gate(access)
        self._closed = threading.Event()
        self._on_event, self._on_trace = on_event, on_trace
        limits = config or CloudConfig()
        limits = limits if on_trace is not None else replace(limits, traces_per_s=0.0)
        self.metrics = CloudMetrics()
        self._engine = EngineHalf(model, profile, engine, limits, costs, self._batch_ran)
        self._config, self._loop = self._engine.config, self._engine.loop
        port = self._config.metrics_port
        self._page: MetricsPage | None = None
        try:
            self._page = None if port is None else MetricsPage(self.metrics, access.metrics_host(host), port)
            self._front: _OneProcess | _ManyProcesses
            if self._config.ingest_processes:
                setup = IngestSetup(self.greeting(), model.shape, listen, self._config, access, self._loop.load())
                self._front = _ManyProcesses(setup, self._loop, self._record)
            else:
                self._front = _OneProcess(self._engine, listen, gate, self._record)
        except BaseException:
            self._loop.close()
            if self._page is not None:
                self._page.close()
            raise
        self.port = self._front.port
        self._accepts = True
        self.metrics.ready_while(lambda: self._accepts and self._front.serves and self._failure is None)

    @property
    def capacity(self) -> Capacity:
        """Throughput of the engine, for display."""
        return self._engine.capacity

    @property
    def metrics_port(self) -> int | None:
        """TCP port of the Prometheus page, None if there is none."""
        return None if self._page is None else self._page.port

    @property
    def metrics_url(self) -> str | None:
        """Address of the Prometheus page, None if there is none."""
        return None if self._page is None else self._page.url

    @property
    def ingest_process_ids(self) -> list[int]:
        """Process numbers of the ingest processes; empty if this process receives the requests."""
        return self._front.process_ids

    def greeting(self) -> Greeting:
        """The greeting that devices get when they connect."""
        return self._engine.greeting

    def load(self) -> Load:
        """Expected wait and price of a request that arrives now."""
        return self._loop.load()

    def wait(self) -> None:
        """Serve until `close` or an interrupt.

        Raises:
            CloudFailed: see `check`.
        """
        while not self._closed.wait(_LOOK_S):
            self.check()

    def check(self) -> None:
        """Check that every part works without which no request is answered. To be called now and then.

        Raises:
            CloudFailed: one has ended by itself. It does not come back, so the process should end and be started again.
        """
        if self._failure is not None:
            raise CloudFailed(f"{self._failure}: start the cloud again")

    @property
    def _failure(self) -> str | None:
        return self._loop.failure or self._front.failure

    def drain(self) -> None:
        """Refuse new requests, and wait for the admitted ones, at most `CloudConfig.drain_s` seconds."""
        self._accepts = False
        self._front.drain()
        until_s = time.perf_counter() + self._config.drain_s
        while self._loop.load().waiting and time.perf_counter() < until_s:
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Stop at once. Waiting requests fail, and their devices finish the frames. To answer them, `drain` first."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._accepts = False
        self._loop.close()
        self._front.close()
        if self._page is not None:
            self._page.close()

    def _record(self, record: Record) -> None:
        if isinstance(record, RequestTrace):
            _tell(self._on_trace, record)
            return
        if isinstance(record, RequestRecord):
            self.metrics.request_ended(record)
        _tell(self._on_event, record)

    def _batch_ran(self, batch: Batch, elapsed_s: float, load: Load) -> None:
        self.metrics.batch_ran(batch, elapsed_s, load)
        _tell(self._on_event, BatchRan(len(batch.jobs), elapsed_s, load.expected_wait_s, load.waiting))

    def __enter__(self) -> Cloud:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tell(watcher: Callable[[T], None] | None, news: T) -> None:
    """Tell a watcher, if there is one. If it fails, the cloud goes on."""
    if watcher is None:
        return
    try:
        watcher(news)
    except Exception as error:
        _LOG.error("on_event or on_trace failed: %s", described(error))


class _OneProcess:
    """Run gRPC in the engine's process."""

    def __init__(self, engine: EngineHalf, listen: str, gate: Gate, on_record: Callable[[Record], None]) -> None:
        self._service = engine.service(on_ended=on_record, on_report=on_record, on_trace=on_record)
        self._server = GrpcServer(self._service, listen, engine.config, gate)
        self.port = self._server.port
        self.process_ids: list[int] = []
        self.serves = True

    @property
    def failure(self) -> str | None:
        return self._server.failure

    def drain(self) -> None:
        self._service.drain()
        self._server.drain()

    def close(self) -> None:
        self._server.stop(grace_s=_GRACE_S)


class _ManyProcesses:
    """Run gRPC in separate processes."""

    def __init__(self, setup: IngestSetup, loop: EngineLoop, on_record: Callable[[Record], None]) -> None:
        self._reserved = PortReservation(setup.address)
        try:
            self._pool = IngestPool(replace(setup, address=self._reserved.address), loop, on_record)
        except BaseException:
            self._reserved.close()
            raise
        self.port = self._reserved.port

    @property
    def process_ids(self) -> list[int]:
        return self._pool.process_ids

    @property
    def serves(self) -> bool:
        return bool(self.process_ids)

    @property
    def failure(self) -> str | None:
        return self._pool.failure

    def drain(self) -> None:
        self._pool.drain()

    def close(self) -> None:
        self._pool.close()
        self._reserved.close()
