"""The calls of devices inside Ray Serve's gRPC proxy. Knows no model; imports neither Ray nor torch.

Ray Serve can pass a stream on to a replica, which then asks the proxy for each message. That would time the message in
the wrong place and cost twice as much as one call. So the proxy reads and times the message itself, as our own server
does, and then calls a replica once. If that replica dies, the proxy still has the message and asks another one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import grpc

from janus_vit.cloud.ray.messages import ReplicaAnswer, ReplicaCall
from janus_vit.cloud.rpc.calls import (
    CallFailed,
    CallResult,
    Context,
    end_call,
    result_of,
    time_left_s,
    timed_message,
    timed_probe,
)
from janus_vit.errors import DeadlineExceeded, JanusError, Rejected, Unreachable
from janus_vit.wire.load_messages import serialise_probe
from janus_vit.wire.rpc import HELLO, INFER, PROBE

APPLICATION = "janus-vit"  # name of the application on Ray Serve
_LOG = logging.getLogger("janus_vit.cloud")
_ATTEMPTS = 2
_ERRORS: dict[grpc.StatusCode | None, tuple[type[JanusError], str]] = {  # what Ray Serve reports, except for a death
    grpc.StatusCode.NOT_FOUND: (Unreachable, f"Ray Serve runs no application {APPLICATION!r}"),
    grpc.StatusCode.UNAVAILABLE: (Unreachable, "no replica of the cloud can be started"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Rejected, "too many requests wait for a replica"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, "the time that Ray Serve gives to a request has passed"),
}
CallReplica: TypeAlias = Callable[[ReplicaCall, Context], Coroutine[Any, Any, bytes]]


def add_janus_service(servicer: Any, server: Any) -> None:
    """Register the service of devices with a proxy of Ray Serve, which calls this function when it starts.

    Args:
        servicer: stands for a replica; its methods are never called.
        server: the proxy's server. It replaces every handler by one that calls a replica.
    """
    methods = {path: getattr(servicer, path.rsplit("/", 1)[1]) for path in (HELLO, INFER, PROBE)}
    handlers = {path: grpc.unary_unary_rpc_method_handler(method) for path, method in methods.items()}
    server.add_generic_rpc_handlers((ProxyHandlers(handlers),))


class ProxyHandlers(grpc.GenericRpcHandler):  # type: ignore[misc] # gRPC is not typed
    """Turns the device's calls into calls of replicas.

    Args:
        handlers: handlers by path. Ray Serve replaces them by its own, in the attribute that it knows from gRPC.
    """

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._method_handlers = handlers

    def service(self, details: Any) -> Any:
        """Return the handler of a call, None if the path is not one of ours."""
        routed = self._method_handlers.get(details.method)
        if routed is None:
            return None
        ask = _Replicas(routed.unary_unary)
        if details.method == HELLO:
            return grpc.unary_unary_rpc_method_handler(_unary(ask.hello))
        return grpc.stream_unary_rpc_method_handler(_unary(ask.infer if details.method == INFER else ask.probe))


def _unary(method: Callable[[Context], Awaitable[bytes]]) -> Callable[[Any, Context], Awaitable[bytes]]:
    async def handle(request: bytes | AsyncIterator[bytes], context: Context) -> bytes:
        return await end_call(context, await result_of(method(context)))

    return handle


class _Replicas:
    """Answers calls with any replica.

    Args:
        call_replica: Ray Serve's handler of unary calls. It chooses a replica, and sets the status of the call.
    """

    def __init__(self, call_replica: CallReplica) -> None:
        self._call_replica = call_replica

    async def hello(self, context: Context) -> bytes:
        return await self._ask(context, b"", 0.0)

    async def infer(self, context: Context) -> bytes:
        message, receive_s = await timed_message(context)
        return await self._ask(context, message, receive_s)

    async def probe(self, context: Context) -> bytes:
        number, receive_s = await timed_probe(context)
        return await self._ask(context, serialise_probe(0, number), receive_s)

    async def _ask(self, context: Context, message: bytes, receive_s: float) -> bytes:
        """Ask a replica, and once more if it dies: the second replica refuses a request for which it has no time.

        Raises:
            CallFailed: a replica refused the request.
            Unreachable: no replica runs, or both have died.
            Rejected: too many requests wait for a replica.
            DeadlineExceeded: no time is left.
        """
        for _ in range(_ATTEMPTS):
            attempt = _Attempt(context)
            call = ReplicaCall(message, receive_s, time_left_s(context), context.peer())
            body = await _stopped_with_its_caller(self._call_replica(call, attempt))
            if body:
                return _answer(ReplicaAnswer.parse(body))
            attempt.raise_unless_replica_died()
            _LOG.warning("a replica died: %s", attempt.details().partition("\n")[0])
        raise Unreachable("two replicas died while they worked on this request")


class _Attempt:
    """A call as Ray Serve sees it. Its status stays here, so that another replica can be asked.

    It hides the metadata that devices send: Ray Serve would let them choose the application.

    Args:
        context: the device's call.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._code: grpc.StatusCode | None = None
        self._details = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("application", APPLICATION),)

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def details(self) -> str:
        return self._details

    def set_details(self, details: str) -> None:
        self._details = details

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def set_trailing_metadata(self, entries: object) -> None:
        """Ignore Ray Serve's id of the request, which devices do not need."""

    def raise_unless_replica_died(self) -> None:
        """Raise the error that Ray Serve reports, unless it is the death of a replica."""
        if self._code in _ERRORS:
            kind, reason = _ERRORS[self._code]
            raise kind(reason)


async def _stopped_with_its_caller(call: Coroutine[Any, Any, bytes]) -> bytes:
    """Await a call that catches its cancellation, as those of Ray Serve do, and be cancelled nevertheless."""
    task = asyncio.create_task(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:  # the device disconnected
        task.cancel()
        await asyncio.wait({task})
        raise


def _answer(result: CallResult) -> bytes:
    if result.failure is not None:
        raise CallFailed(result.failure)
    return result.body
