"""The cloud's end of gRPC: turns calls into `CloudService.handle` and errors into statuses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from janus_vit.cloud.service import CloudService
from janus_vit.errors import DeadlineExceeded, InputError, ModelMismatch, Rejected, Unreachable, WireError
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.messages import (
    HEADER_BYTES,
    LONGEST_WAIT_S,
    parse,
    parse_request,
    serialise_greeting,
    serialise_reply,
)
from janus_vit.wire.rpc import HELLO, INFER, KEEPALIVE, LARGEST_PROBE_BYTES, PROBE, SERVICE

_LOG = logging.getLogger("janus_vit.cloud")
_CALLS_AT_ONCE = 64
_STATUS = (
    (ModelMismatch, grpc.StatusCode.FAILED_PRECONDITION),
    (WireError, grpc.StatusCode.INVALID_ARGUMENT),
    (Rejected, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Unreachable, grpc.StatusCode.UNAVAILABLE),
    (grpc.RpcError, grpc.StatusCode.CANCELLED),  # the device hung up while its message arrived
)


def start_server(
    service: CloudService, address: str, credentials: grpc.ServerCredentials | None = None
) -> tuple[grpc.Server, int]:
    """Listen on "host:port" (port 0 picks one) and give the running server with its port.

    Raises:
        InputError: the address cannot be listened on.
    """
    largest = max(service.largest_body_bytes, LARGEST_PROBE_BYTES) + HEADER_BYTES
    options = [
        *KEEPALIVE,
        ("grpc.so_reuseport", 0),  # a second cloud on the same port is a mistake, not a partner
        ("grpc.max_receive_message_length", largest),
        # The whole payload may be in flight at once: else each round trip carries one small window.
        ("grpc.http2.lookahead_bytes", largest),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
    pool = ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="janus-call")
    server = grpc.server(pool, options=options, maximum_concurrent_rpcs=_CALLS_AT_ONCE)
    server.add_generic_rpc_handlers((_handlers(service),))
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise InputError(f"cannot listen on {address}: choose a free port and an address of this machine") from error
    server.start()
    return server, port


def _handlers(service: CloudService) -> grpc.GenericRpcHandler:
    """Methods take and give bytes: what cannot be parsed is our error, with our sentence."""

    def hello(request: bytes, context: grpc.ServicerContext) -> bytes:
        return serialise_greeting(service.greeting())

    def infer(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        message, receive_s = _timed_message(requests, context)
        return serialise_reply(service.handle(parse_request(message), receive_s, context.add_callback))

    def probe(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        message, receive_s = _timed_message(requests, context)
        parse(pb.ProbeRequest, message)
        return pb.ProbeReply(receive_s=receive_s).SerializeToString()

    def method(path: str) -> str:
        return path.rsplit("/", 1)[1]

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            method(HELLO): grpc.unary_unary_rpc_method_handler(_guarded(hello)),
            method(INFER): grpc.stream_unary_rpc_method_handler(_guarded(infer)),
            method(PROBE): grpc.stream_unary_rpc_method_handler(_guarded(probe)),
        },
    )


def _timed_message(requests: Iterator[bytes], context: grpc.ServicerContext) -> tuple[bytes, float]:
    """The stream's one message, and the time from the call's headers to the message's last byte."""
    headers_s = time.perf_counter()
    time_left_s = context.time_remaining()
    if time_left_s is None or time_left_s > LONGEST_WAIT_S + 1:  # an idle stream would hold its thread for ever
        raise WireError(f"the call has no deadline within {LONGEST_WAIT_S:.0f} s: set one")
    message = next(requests, None)
    if message is None:
        raise WireError("the call ended without a message")
    return message, time.perf_counter() - headers_s


def _guarded(
    method: Callable[..., bytes],
) -> Callable[[object, grpc.ServicerContext], bytes]:
    """Turn our errors into statuses; anything else is a bug here, logged and hidden from the peer."""

    def guarded(request: object, context: grpc.ServicerContext) -> bytes:
        try:
            return method(request, context)
        except Exception as error:
            raise _aborted(context, error) from error

    return guarded


def _aborted(context: grpc.ServicerContext, error: Exception) -> AssertionError:
    for kind, status in _STATUS:
        if isinstance(error, kind):
            _LOG.info("refused: %s", error)
            context.abort(status, str(error))
    _LOG.error("a request failed", exc_info=error)
    context.abort(grpc.StatusCode.INTERNAL, "the cloud failed on this request; its log says why")
    return AssertionError("abort raises")
