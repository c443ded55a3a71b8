"""The cloud's end of gRPC: calls become `AsyncService` coroutines. One event loop in a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from janus_vit.cloud.access.connections import ConnectionGuard, allow_many_files
from janus_vit.cloud.access.door import Door
from janus_vit.cloud.access.limits import Ledger
from janus_vit.cloud.access.memory import UNREAD_BYTES, limits_of, limits_of_strangers
from janus_vit.cloud.access.method_names import serve_methods
from janus_vit.cloud.access.roster import Roster
from janus_vit.cloud.access.settings import Gate
from janus_vit.cloud.async_service import AsyncService
from janus_vit.cloud.rpc.handlers import Handlers
from janus_vit.cloud.service import CloudService
from janus_vit.cloud.watching.health import Health
from janus_vit.cloud.watching.traces import ContinuedTraces
from janus_vit.errors import InputError, Unreachable, described
from janus_vit.scheduling.config import CloudConfig
from janus_vit.wire.messages import HEADER_BYTES
from janus_vit.wire.rpc import CONNECTION, LARGEST_PROBE_BYTES

_LOG = logging.getLogger("janus_vit.cloud")
_HANDSHAKE_MS = 5_000  # for TLS and the first bytes of HTTP/2
_RENEW_MS = 3_600_000  # after which a device shows its certificate again
_MOST_PENDING = 128  # calls that wait for the loop, 0.2 ms each; above it gRPC refuses some, above twice as many all
_REPORT_S = 1.0  # longest wait until health checks know that the server goes away


class GrpcServer:
    """Serves a `CloudService` over gRPC in a thread of its own.

    It uses asyncio instead of a thread for each call: an idle stream occupies no thread, and a batch of answers wakes
    one thread instead of thirty.

    Args:
        service: answers the requests.
        address: "host:port"; port 0 picks a free one, see `port`.
        config: limits.
        gate: identifies callers; its certificates serve with TLS.
        shares_port: whether other processes listen on the same port, each for a part of the connections.

    Attributes:
        port: TCP port of the server.
        failure: why the server has ended by itself; None if it has not.

    Raises:
        InputError: the server cannot listen on the address.
    """

    def __init__(
        self,
        service: CloudService,
        address: str,
        config: CloudConfig,
        gate: Gate,
        shares_port: bool = False,
    ) -> None:
        self._service = service
        self._address = address
        self._config = config
        self._gate = gate
        self._largest_bytes = max(service.largest_body_bytes, LARGEST_PROBE_BYTES) + HEADER_BYTES
        self._limits, self._connection_limits = limits_of(config, service.largest_body_bytes)
        self._shares_port = shares_port
        self._answers = AsyncService(service)
        self._loop = asyncio.new_event_loop()
        self._grace_s = 0.0
        self.failure: str | None = None
        started: Future[int] = Future()
        self._thread = threading.Thread(target=self._serve, args=(started,), name="janus-grpc", daemon=True)
        self._thread.start()
        try:
            self.port = started.result()
        except BaseException:
            self._thread.join()
            raise

    def drain(self) -> None:
        """Report NOT_SERVING to health checks."""
        reported = threading.Event()

        def report() -> None:
            self._health.drain()
            reported.set()

        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(report)
            reported.wait(_REPORT_S)  # the loop may end before it reports

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, wait at most that long for running ones, and stop."""
        self._grace_s = grace_s
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._answers.close()

    def _serve(self, started: Future[int]) -> None:
        asyncio.set_event_loop(self._loop)
        running = self._loop.create_task(self._run(started))
        try:
            self._loop.run_until_complete(running)
        except BaseException as error:
            if started.done():
                _LOG.critical("the gRPC server failed", exc_info=error)
                self.failure = f"the gRPC server has ended by itself ({described(error)})"
            else:  # raised in the thread that starts the server
                started.set_exception(error)
        finally:
            self._loop.run_until_complete(_cancelled([running]))
            self._loop.run_until_complete(_cancelled(asyncio.all_tasks(self._loop)))
            self._loop.close()

    async def _run(self, started: Future[int]) -> None:
        self._stopping = asyncio.Event()
        self._health = Health()
        roster = Roster()
        ledger, strangers = Ledger(self._limits), Ledger(limits_of_strangers(self._limits, self._largest_bytes))
        door = Door(self._gate, ledger, strangers, roster, self._largest_bytes, lambda: guard.wake())
        traces = ContinuedTraces(self._config.traces_per_s)
        handlers = Handlers(self._answers, self._health, door, self._service.largest_body_bytes, traces)
        options = self._options(most_connections=allow_many_files())
        self._server = serve_methods(handlers.of_methods, handlers.of_others, options)
        port = self._bound_port()
        guard = ConnectionGuard(port, roster, self._connection_limits)
        try:
            await self._server.start()
            started.set_result(port)
            await self._until_stopped()
        finally:
            guard.close()
            await self._server.stop(self._grace_s)

    async def _until_stopped(self) -> None:
        """Wait for `stop`.

        Raises:
            Unreachable: gRPC's server has stopped before.
        """
        asked = asyncio.ensure_future(self._stopping.wait())
        ended = asyncio.ensure_future(self._server.wait_for_termination())
        await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise Unreachable("it does not listen any more")

    def _bound_port(self) -> int:
        credentials = self._gate.credentials
        try:
            if credentials is None:
                port: int = self._server.add_insecure_port(self._address)
            else:
                port = self._server.add_secure_port(self._address, credentials)
        except RuntimeError as error:  # it does not say why
            hint = "choose a free port and an address of this machine"
            if credentials is not None:
                hint = f"{hint}; if both are right, gRPC does not take the certificate and its key: check their files"
            raise InputError(f"cannot listen on {self._address}: {hint}") from error
        return port

    def _options(self, most_connections: int) -> list[tuple[str, int]]:
        renewal = [("grpc.max_connection_age_ms", _RENEW_MS)] if self._gate.by_certificate else []
        return [
            *CONNECTION,
            *renewal,
            ("grpc.so_reuseport", int(self._shares_port)),  # otherwise a second cloud on the port is a mistake
            ("grpc.max_receive_message_length", self._largest_bytes),
            # What a stream may send before the door has admitted its call. After that, gRPC lets the rest of the
            # message come as soon as its first bytes have told its length.
            ("grpc.http2.lookahead_bytes", UNREAD_BYTES),
            ("grpc.max_concurrent_streams", max(1, self._limits.calls_per_client // 2)),
            ("grpc.server.max_pending_requests", _MOST_PENDING),
            ("grpc.server.max_pending_requests_hard_limit", 2 * _MOST_PENDING),
            ("grpc.max_allowed_incoming_connections", min(2 * self._connection_limits.total, most_connections)),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ]


async def _cancelled(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and await them. Those of gRPC end with errors when a server stops."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
