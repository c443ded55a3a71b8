"""A `CloudService` for an event loop: serialised requests in, serialised answers out. Knows no gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from janus_vit.cloud.service import CloudService, Pending
from janus_vit.cloud.watching.call import Call
from janus_vit.errors import JanusError
from janus_vit.tracing.request_spans import RequestTrace
from janus_vit.wire.checksum import with_checksum
from janus_vit.wire.load_messages import serialise_probe_reply
from janus_vit.wire.messages import Reply, Request, parse_request, serialise_greeting, serialise_reply
from janus_vit.wire.stream_report import StreamReport

_DECODERS = 2  # threads for payloads that take long to decode


class AsyncService:
    """Answers serialised requests; a request whose task is cancelled leaves the queue.

    Args:
        service: answers the requests.
    """

    def __init__(self, service: CloudService) -> None:
        self._service = service
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="janus-decode")

    async def hello(self) -> bytes:
        """The greeting that devices get when they connect."""
        return with_checksum(serialise_greeting(self._service.greeting()))

    async def probe(self, number: int, receive_s: float) -> bytes:
        """The reply to the probe of that number, which took that long to arrive."""
        return serialise_probe_reply(receive_s, self._service.load(), number)

    def reported(self, report: StreamReport) -> None:
        """Pass on how a device's stream goes."""
        self._service.reported(report)

    def traced(self, trace: RequestTrace) -> None:
        """Pass on what happened to a traced request."""
        self._service.traced(trace)

    async def infer(self, message: bytes, receive_s: float, left_s: float, call: Call | None = None) -> bytes:
        """Answer a request.

        Args:
            message: the serialised request.
            receive_s: how long it took to arrive.
            left_s: time until its call ends.
            call: the call; default: one that arrives now, from the device that the request names.

        Raises:
            JanusError: see `CloudService.begin`.
        """
        request = parse_request(message)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()

        def on_reply(reply: Reply | JanusError) -> None:
            loop.call_soon_threadsafe(_settle, answered, reply)

        pending = await self._begin(request, receive_s, on_reply, left_s, call or Call())
        try:
            return with_checksum(serialise_reply(await answered))
        except asyncio.CancelledError:  # the device disconnected
            pending.cancel()
            raise

    def close(self) -> None:
        """Stop the decoders."""
        self._decoders.shutdown(cancel_futures=True)

    async def _begin(
        self,
        request: Request,
        receive_s: float,
        on_reply: Callable[[Reply | JanusError], None],
        left_s: float,
        call: Call,
    ) -> Pending:
        """Decode small payloads in this thread, and large ones in another thread so that other connections go on.

        Returns or raises when decoding has ended, also if the call ends before.
        """
        if self._service.decodes_quickly(request):
            return self._service.begin(request, receive_s, on_reply, left_s, call)
        begun = self._decoders.submit(self._service.begin, request, receive_s, on_reply, left_s, call)
        decoded = asyncio.wrap_future(begun)
        try:
            await asyncio.wait((decoded,))
        except asyncio.CancelledError:  # the device disconnected
            call.ended = True
            begun.add_done_callback(_cancel_begun)
            if not begun.cancel():  # decoding runs; it ends soon, and until then its call holds memory
                await asyncio.wait((decoded,))
                decoded.exception()  # nobody else asks for it
            raise
        return decoded.result()


def _cancel_begun(begun: Future[Pending]) -> None:
    """Drop a request that was decoded although its device had disconnected."""
    if not begun.cancelled() and begun.exception() is None:
        begun.result().cancel()


def _settle(answered: asyncio.Future[Reply], reply: Reply | JanusError) -> None:
    if answered.done():  # the device has disconnected
        return
    if isinstance(reply, JanusError):
        answered.set_exception(reply)
    else:
        answered.set_result(reply)
