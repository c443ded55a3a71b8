"""The methods of the cloud's gRPC server: each call passes the door before its message is read.

Handlers take and return bytes, so that a message that cannot be parsed gets our own error message. Methods with one
message are served as streams, too: gRPC would read the message of a unary call before anybody could refuse it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeAlias

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from janus_vit.cloud.access.callers import Caller
from janus_vit.cloud.access.door import Door
from janus_vit.cloud.async_service import AsyncService
from janus_vit.cloud.rpc.calls import (
    CallFailed,
    CallResult,
    Context,
    Failure,
    end_call,
    read_within,
    result_of,
    stream_report,
    time_left_s,
    timed_message,
    timed_probe,
)
from janus_vit.cloud.watching.call import Call
from janus_vit.cloud.watching.health import Health
from janus_vit.cloud.watching.traces import ContinuedTraces
from janus_vit.errors import WireError, described
from janus_vit.wire.fields import parse
from janus_vit.wire.messages import HEADER_BYTES
from janus_vit.wire.rpc import HELLO, INFER, LARGEST_PROBE_BYTES, PROBE

_HEALTH = "/grpc.health.v1.Health"
Method: TypeAlias = Callable[[Context], Awaitable[bytes]]


class Handlers:
    """The handlers of all calls.

    Args:
        answers: answers the calls of devices.
        health: answers health checks.
        door: admits calls.
        largest_body_bytes: largest body of a request.
        traces: admits traces of devices.

    Attributes:
        of_methods: handler of each method, by its full name.
        of_others: handler of methods that do not exist.
    """

    def __init__(
        self,
        answers: AsyncService,
        health: Health,
        door: Door,
        largest_body_bytes: int,
        traces: ContinuedTraces,
    ) -> None:
        self._answers = answers
        self._health = health
        self._door = door
        self._body_bytes = largest_body_bytes
        self._traces = traces
        self.of_methods = {
            HELLO: self._handler(self._hello),
            INFER: self._handler(self._infer),
            PROBE: self._handler(self._probe),
            f"{_HEALTH}/Check": self._handler(self._check),
            f"{_HEALTH}/Watch": grpc.stream_stream_rpc_method_handler(self._watch),
        }
        self.of_others = self._handler(self._refuse)

    async def _hello(self, context: Context) -> bytes:
        with self._door.enter(context, HEADER_BYTES) as visit:
            await read_within(context, visit.receive_limit_s)
            return await self._answers.hello()

    async def _infer(self, context: Context) -> bytes:
        with self._door.enter(context, self._body_bytes + HEADER_BYTES) as visit:
            message, receive_s = await timed_message(context, visit.receive_limit_s)
            _require_announced(message, visit.size_bytes)
            self._pass_report(context, visit.caller)
            call = Call(visit.caller, self._traces.parent(context.invocation_metadata()))
            problem: str | None = None
            try:
                return await self._answers.infer(message, receive_s, time_left_s(context), call)
            except BaseException as error:
                problem = described(error)
                raise
            finally:
                visit.decode_s = call.decode_s
                if (trace := call.trace(receive_s, problem)) is not None:
                    self._answers.traced(trace)

    async def _probe(self, context: Context) -> bytes:
        with self._door.enter(context, LARGEST_PROBE_BYTES + HEADER_BYTES) as visit:
            number, receive_s = await timed_probe(context, visit.receive_limit_s)
            self._pass_report(context, visit.caller)
            return await self._answers.probe(number, receive_s)

    def _pass_report(self, context: Context, caller: Caller) -> None:
        """Pass on the report that came with a call. A caller that has proven its name cannot report for another."""
        report = stream_report(context)
        if report is not None:
            self._answers.reported(replace(report, device=Call(caller).shown(report.device)))

    async def _check(self, context: Context) -> bytes:
        """Tell anybody whether the cloud serves: load balancers have no token."""
        with self._door.enter(context, HEADER_BYTES, known=False) as visit:
            asked = parse(HealthCheckRequest, await read_within(context, visit.receive_limit_s))
            state = self._health.state(asked.service)
            if state.status == HealthCheckResponse.SERVICE_UNKNOWN:
                raise CallFailed(Failure(grpc.StatusCode.NOT_FOUND, "this cloud has no such service"))
            return bytes(state.SerializeToString())

    async def _watch(self, requests: AsyncIterator[bytes], context: Context) -> None:
        async def tell(state: bytes) -> None:
            try:
                await context.write(state)
            except grpc.aio.InternalError:  # the watcher has hung up before it read
                raise asyncio.CancelledError from None

        async def watch() -> bytes:
            with self._door.enter(context, HEADER_BYTES) as visit:
                asked = parse(HealthCheckRequest, await read_within(context, visit.receive_limit_s))
                await self._health.watch(asked.service, tell)
                return b""

        await self._end(context, await result_of(watch()))

    async def _refuse(self, context: Context) -> bytes:
        with self._door.enter(context, HEADER_BYTES):
            raise WireError("this method does not exist: is the other end a janus-vit of this version?")

    def _handler(self, method: Method) -> Any:
        async def handle(requests: AsyncIterator[bytes], context: Context) -> bytes:
            return await self._end(context, await result_of(method(context)))

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _end(self, context: Context, result: CallResult) -> bytes:
        """End a call; a caller that is refused again and again hears of it late."""
        if result.failure is not None and (held_s := self._door.held_s(context)):
            await asyncio.sleep(held_s)
        return await end_call(context, result)


def _require_announced(message: bytes, announced_bytes: int) -> None:
    """Refuse a message that is larger than its call announced, and so than what was reserved for it.

    Raises:
        WireError: it is.
    """
    if len(message) > announced_bytes:
        raise WireError(f"the message has {len(message)} bytes, but the call announced {announced_bytes}")
