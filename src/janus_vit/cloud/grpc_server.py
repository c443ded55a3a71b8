"""The cloud's end of gRPC: calls become `CloudService.begin`, errors become statuses. One event loop in a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from janus_vit.cloud.service import CloudService, Pending
from janus_vit.errors import (
    DeadlineExceeded,
    InputError,
    JanusError,
    ModelMismatch,
    Overloaded,
    Rejected,
    Unreachable,
    WireError,
)
from janus_vit.scheduling.config import CloudConfig
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.fields import LONGEST_WAIT_S, parse
from janus_vit.wire.load_messages import serialise_price, serialise_probe_reply
from janus_vit.wire.messages import (
    HEADER_BYTES,
    Reply,
    Request,
    parse_request,
    serialise_greeting,
    serialise_reply,
)
from janus_vit.wire.rpc import EXPECTED_WAIT, HELLO, INFER, KEEPALIVE, LARGEST_PROBE_BYTES, PRICE, PROBE, SERVICE

_LOG = logging.getLogger("janus_vit.cloud")
_STATUS = (
    (ModelMismatch, grpc.StatusCode.FAILED_PRECONDITION),
    (WireError, grpc.StatusCode.INVALID_ARGUMENT),
    (Rejected, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Unreachable, grpc.StatusCode.UNAVAILABLE),
)
_REPORT_S = 1.0  # longest wait until health checks know that the server goes away
_DECODERS = 2  # threads for payloads that take long to decode
Context: TypeAlias = Any  # grpc.aio.ServicerContext, which is not typed
Method = Callable[[Context], Awaitable[bytes]]


class GrpcServer:
    """Serves a `CloudService` over gRPC in a thread of its own.

    It uses asyncio instead of a thread for each call: an idle stream occupies no thread, and a batch of answers wakes
    one thread instead of thirty.

    Args:
        service: answers the requests.
        address: "host:port"; port 0 picks a free one, see `port`.
        config: limits.
        credentials: TLS credentials; None serves without TLS.
        shares_port: whether other processes listen on the same port, each for a part of the connections.

    Raises:
        InputError: the server cannot listen on the address.
    """

    def __init__(
        self,
        service: CloudService,
        address: str,
        config: CloudConfig,
        credentials: grpc.ServerCredentials | None = None,
        shares_port: bool = False,
    ) -> None:
        self._service = service
        self._address = address
        self._config = config
        self._credentials = credentials
        self._shares_port = shares_port
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="janus-decode")
        self._loop = asyncio.new_event_loop()
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
            task = self._loop.create_task(self._health.enter_graceful_shutdown())
            task.add_done_callback(lambda _: reported.set())

        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(report)
            reported.wait(_REPORT_S)  # the loop may end before it reports

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, wait at most that long for running ones, and stop."""
        self._grace_s = grace_s
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._decoders.shutdown(cancel_futures=True)

    def _serve(self, started: Future[int]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run(started))
        except Exception as error:  # raised in the thread that starts the server
            if started.done():
                _LOG.exception("the server failed")
            else:
                started.set_exception(error)
        finally:
            self._loop.run_until_complete(_end_tasks())
            self._loop.close()

    async def _run(self, started: Future[int]) -> None:
        self._stopping = asyncio.Event()
        self._server = grpc.aio.server(options=self._options(), maximum_concurrent_rpcs=self._config.calls_at_once)
        self._server.add_generic_rpc_handlers((self._handlers(),))
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        port = self._bound_port()
        await self._server.start()
        started.set_result(port)
        await self._stopping.wait()
        await self._server.stop(self._grace_s)

    def _bound_port(self) -> int:
        try:
            if self._credentials is None:
                port: int = self._server.add_insecure_port(self._address)
            else:
                port = self._server.add_secure_port(self._address, self._credentials)
        except RuntimeError as error:
            raise InputError(
                f"cannot listen on {self._address}: choose a free port and an address of this machine"
            ) from error
        return port

    def _options(self) -> list[tuple[str, int]]:
        largest = max(self._service.largest_body_bytes, LARGEST_PROBE_BYTES) + HEADER_BYTES
        return [
            *KEEPALIVE,
            ("grpc.so_reuseport", int(self._shares_port)),  # otherwise a second cloud on the port is a mistake
            ("grpc.max_receive_message_length", largest),
            # A window as large as the whole payload: with a smaller one, each window would cost a round trip.
            ("grpc.http2.lookahead_bytes", largest),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ]

    def _handlers(self) -> grpc.GenericRpcHandler:
        """Handlers that take and return bytes, so that a message that cannot be parsed gets our own error message."""

        async def hello(request: bytes, context: Context) -> bytes:
            return serialise_greeting(self._service.greeting())

        async def infer(requests: AsyncIterator[bytes], context: Context) -> bytes:
            return await _guarded(self._infer, context)

        async def probe(requests: AsyncIterator[bytes], context: Context) -> bytes:
            return await _guarded(self._probe, context)

        def name(path: str) -> str:
            return path.rsplit("/", 1)[1]

        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name(HELLO): grpc.unary_unary_rpc_method_handler(hello),
                name(INFER): grpc.stream_unary_rpc_method_handler(infer),
                name(PROBE): grpc.stream_unary_rpc_method_handler(probe),
            },
        )

    async def _infer(self, context: Context) -> bytes:
        message, receive_s = await _timed_message(context)
        request, left_s = parse_request(message), _time_left_s(context)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()

        def on_reply(reply: Reply | JanusError) -> None:
            loop.call_soon_threadsafe(_settle, answered, reply)

        pending = await self._begin(request, receive_s, left_s, on_reply)
        try:
            return serialise_reply(await answered)
        except asyncio.CancelledError:  # the device disconnected
            pending.cancel()
            raise

    async def _probe(self, context: Context) -> bytes:
        message, receive_s = await _timed_message(context)
        parse(pb.ProbeRequest, message)
        return serialise_probe_reply(receive_s, self._service.load())

    async def _begin(
        self, request: Request, receive_s: float, left_s: float, on_reply: Callable[[Reply | JanusError], None]
    ) -> Pending:
        """Decode small payloads in this thread, and large ones in another thread so that other connections go on."""
        if self._service.decodes_quickly(request):
            return self._service.begin(request, receive_s, on_reply, left_s)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, self._service.begin, request, receive_s, on_reply, left_s)


def _time_left_s(context: Context) -> float:
    """Time until the call's deadline, which counts from its arrival in this process.

    A request that waited for a busy event loop has less time than its message says, and one whose device has given up
    must not be decoded.

    Raises:
        DeadlineExceeded: no time is left.
    """
    left_s: float = context.time_remaining()
    if left_s <= 0:
        raise DeadlineExceeded("the deadline passed before the request was read")
    return left_s


async def _end_tasks() -> None:
    """Cancel and await gRPC's own tasks, which end with errors when a server stops."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _settle(answered: asyncio.Future[Reply], reply: Reply | JanusError) -> None:
    if answered.done():  # the device has disconnected
        return
    if isinstance(reply, JanusError):
        answered.set_exception(reply)
    else:
        answered.set_result(reply)


async def _timed_message(context: Context) -> tuple[bytes, float]:
    """Read the stream's only message; return it with the time from the call's headers to the message's last byte."""
    headers_s = time.perf_counter()
    time_left_s = context.time_remaining()
    if time_left_s is None or time_left_s > LONGEST_WAIT_S + 1:  # an idle stream would stay open forever
        raise WireError(f"the call has no deadline within {LONGEST_WAIT_S:.0f} s: set one")
    message = await context.read()
    if message is grpc.aio.EOF:
        raise WireError("the call ended without a message")
    return message, time.perf_counter() - headers_s


async def _guarded(method: Method, context: Context) -> bytes:
    """Turn our errors into gRPC statuses. Any other exception is a bug: it is logged, and its details stay here."""
    load: tuple[tuple[str, str | bytes], ...] = ()
    try:
        return await method(context)
    except JanusError as error:
        _LOG.info("refused: %s", error)
        status, sentence = next(status for kind, status in _STATUS if isinstance(error, kind)), str(error)
        if isinstance(error, Overloaded):
            load = _load_entries(error)
    except Exception:
        _LOG.exception("a request failed")
        status, sentence = grpc.StatusCode.INTERNAL, "the cloud failed on this request; its log says why"
    await context.abort(status, sentence, load)
    raise AssertionError("abort raises")


def _load_entries(error: Overloaded) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata of a refusal: the expected wait and, if known, the price."""
    wait = (EXPECTED_WAIT, f"{error.expected_wait_s:.6f}")
    return (wait,) if error.price is None else (wait, (PRICE, serialise_price(error.price)))
