"""A transport over gRPC. Errors of gRPC are translated here."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Condition
from typing import TypeAlias

import grpc

from janus_vit.errors import InputError, TransportError, Unauthenticated, Unreachable, WireError
from janus_vit.planning.outcome import Transfer
from janus_vit.runtime.flights.calls import Call, EndedCall
from janus_vit.runtime.refusals import translated
from janus_vit.runtime.transport import Probed
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.addresses import check_address, is_loopback
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.checksum import with_checksum
from janus_vit.wire.fields import require_field
from janus_vit.wire.load_messages import parse_probe_reply, serialise_probe
from janus_vit.wire.messages import (
    WIRE_VERSION,
    Greeting,
    Reply,
    Request,
    parse_greeting,
    parse_reply,
    serialise_request,
)
from janus_vit.wire.rpc import CONNECTION, HELLO, INFER, MESSAGE_BYTES, PROBE, TRACE

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # The device finishes frames itself. gRPC would repeat a call hundreds of times a second, each with a connection and
    # memory of its own, while a server ends its connections at once (GOAWAY).
    ("grpc.enable_retries", 0),
]
_CLOCKS, _CLOCK_SLACK_S = 1.01, 0.005  # two clocks may differ by this
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,180}")
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]  # gRPC would reuse a connection that was just closed
_NO_PROXY = [("grpc.enable_http_proxy", 0)]  # of the variable http_proxy, which would read token and frames


class GrpcTransport:
    """A connection to one cloud. Connects on first use and reconnects when the connection breaks.

    A request has a random number that the reply repeats, so that a stale or repeated reply is not taken for its own.

    Args:
        address: address of the cloud, "host:port".
        outputs: size of the model's answers, to check replies.
        credentials: TLS credentials; None connects without TLS, and never through a proxy.
        token: proves who this device is; None sends none.
        metadata: returns what each request and probe carries besides its message.
        on_unknown: called when the cloud refuses one of them, because it does not know this device; also in a thread.

    Attributes:
        channel: of gRPC.
        sent_s: when the last frame was sent, at first when the transport was made.

    Raises:
        InputError: the address has no port from 1 to 65535, or the token would cross a network in clear text.
    """

    def __init__(
        self,
        address: str,
        outputs: Outputs,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        metadata: Callable[[], Metadata] = tuple,
        on_unknown: Callable[[Unauthenticated], None] = lambda error: None,
    ) -> None:
        check_address(address)
        self._authorization = _authorization(token, address, encrypted=credentials is not None)
        self._address = address
        self._process = os.getpid()
        self._outputs = outputs
        self._metadata = metadata
        self._on_unknown = on_unknown
        largest_bytes = max(1 << 20, outputs.dense.largest_bytes)
        sizes = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", largest_bytes)]
        options = [*CONNECTION, *_RECONNECT, *_OWN_CONNECTION, *sizes]
        if credentials is None:
            self.channel = grpc.insecure_channel(address, [*options, *_NO_PROXY])
        else:
            self.channel = grpc.secure_channel(address, credentials, options)
        self._hello = self.channel.unary_unary(HELLO)
        self._infer = self.channel.stream_unary(INFER)
        self._probe = self.channel.stream_unary(PROBE)
        self._ended = Condition()  # notified when a call of `start` ends
        self._repeats_numbers = False  # whether the cloud has done so: older ones do not
        self.sent_s = time.perf_counter()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="janus-probe")

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""
        request = pb.HelloRequest(wire_version=WIRE_VERSION).SerializeToString()
        self._repeats_numbers = False
        return parse_greeting(self._call(lambda: self._hello(request, timeout=timeout_s, metadata=self._authorization)))

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """See `Transport.infer`; fails at once if there is no connection."""
        number, message = self._numbered(request)
        began_s = self.sent_s = time.perf_counter()
        data = self._send(self._infer, message, timeout_s, request.trace)
        return self._checked(data, number, time.perf_counter() - began_s)

    def start(self, request: Request, timeout_s: float) -> Call:
        """See `Calls.start`; fails at once if there is no connection."""
        self._require_own_process()
        number, message = self._numbered(request)
        began_s = self.sent_s = time.perf_counter()
        try:
            future = self._infer.future(
                iter([message]), timeout=timeout_s, metadata=self._metadata_of(message, request.trace)
            )
        except ValueError:  # closed
            return EndedCall(time.perf_counter(), Unreachable(f"the connection to {self._address} is closed"))

        def read(ended_s: float) -> Reply:
            return self._checked(self._known(future.result), number, ended_s - began_s)

        return _GrpcCall(future, self._ended, read)

    def wait(self, calls: Sequence[Call], timeout_s: float) -> None:
        """See `Calls.wait`."""
        with self._ended:
            self._ended.wait_for(lambda: any(call.ended_s is not None for call in calls), timeout_s)

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Probed]:
        """See `Transport.probe`."""
        self._require_own_process()
        try:
            return self._background.submit(self._probe_now, size_bytes, timeout_s)
        except RuntimeError:  # closed
            failed: Future[Probed] = Future()
            failed.set_result(Probed(Transfer(time.perf_counter(), size_bytes, send_s=0.0, rtt_s=None)))
            return failed

    def measure_link(self, size_bytes: int, timeout_s: float) -> Transfer:
        """Send bytes that the cloud discards, and return how long they took."""
        return self._probe_now(size_bytes, timeout_s).transfer

    def close(self) -> None:
        """See `Transport.close`."""
        self.channel.close()
        self._background.shutdown(cancel_futures=True)

    def _probe_now(self, size_bytes: int, timeout_s: float) -> Probed:
        number = _random_number()
        message = serialise_probe(size_bytes, number)
        began_s = time.perf_counter()
        try:
            reply = parse_probe_reply(self._send(self._probe, message, timeout_s))
            self._require_number(reply.number, number)
            _require_past("receive_s", reply.receive_s, time.perf_counter() - began_s)
        except (TransportError, WireError) as error:
            ended_s = time.perf_counter()
            lost = Transfer(ended_s, size_bytes, send_s=ended_s - began_s, rtt_s=None)
            return Probed(lost, refused=str(error) if isinstance(error, WireError) else None)
        ended_s, send_s = time.perf_counter(), reply.receive_s
        return Probed(Transfer(ended_s, size_bytes, send_s, rtt_s=max(0.0, ended_s - began_s - send_s)), reply.load)

    def _numbered(self, request: Request) -> tuple[int, bytes]:
        """A new number, and the message of the request with it."""
        number = _random_number()
        return number, with_checksum(serialise_request(replace(request, number=number)))

    def _require_number(self, told: int, number: int) -> None:
        """Refuse a reply that belongs to another request. Older clouds repeat no numbers, which reads as 0.

        Raises:
            WireError: it does.
        """
        is_older = told == 0 and not self._repeats_numbers
        require_field(
            told == number or is_older, "number", f"is {told}, expected {number}: the reply to another request"
        )
        self._repeats_numbers = told == number

    def _checked(self, data: bytes, number: int, elapsed_s: float) -> Reply:
        reply = parse_reply(data, self._outputs)
        self._require_number(reply.number, number)
        _require_past("receive_s", reply.receive_s + reply.decode_s + reply.queue_s + reply.compute_s, elapsed_s)
        return reply

    def _require_own_process(self) -> None:
        """Refuse calls in a forked process, where gRPC's threads are missing: they would wait forever."""
        if os.getpid() != self._process:
            raise InputError(f"the connection to {self._address} is that of another process: connect after the fork")

    def _send(self, method: Callable[..., bytes], message: bytes, timeout_s: float, trace: str | None = None) -> bytes:
        metadata = self._metadata_of(message, trace)
        return self._known(lambda: method(iter([message]), timeout=timeout_s, metadata=metadata))

    def _metadata_of(self, message: bytes, trace: str | None) -> Metadata:
        traced = () if trace is None else ((TRACE, trace),)
        return (*self._authorization, (MESSAGE_BYTES, str(len(message))), *traced, *self._metadata())

    def _known(self, call: Callable[[], bytes]) -> bytes:
        """Call a cloud that knew this device when they shook hands."""
        try:
            return self._call(call)
        except Unauthenticated as error:
            self._on_unknown(error)
            raise

    def _call(self, call: Callable[[], bytes]) -> bytes:
        self._require_own_process()
        try:
            reply: bytes | None = call()
        except grpc.RpcError as error:
            raise translated(error, self._address) from error
        except (ValueError, grpc.FutureCancelledError) as error:  # closed
            raise Unreachable(f"the connection to {self._address} is closed") from error
        if reply is None:  # gRPC, if bytes were changed on the way: success without a message
            raise Unreachable(f"{self._address} ended the call without a reply")
        return reply


def _authorization(token: str | None, address: str, encrypted: bool) -> tuple[tuple[str, str], ...]:
    if token is None:
        return ()
    if not (encrypted or is_loopback(address.rpartition(":")[0])):
        raise InputError(f"the token would cross the network to {address} in clear text: add --ca FILE")
    if not _TOKEN.fullmatch(token):
        raise InputError("the token has characters that no token has: check the token file or JANUS_VIT_TOKEN")
    return (("authorization", f"Bearer {token}"),)


class _GrpcCall:
    """A request on its way.

    Args:
        future: of gRPC.
        ended: notified when it ends.
        read: returns the checked reply, given the time at which the call ended.
    """

    def __init__(self, future: grpc.Future, ended: Condition, read: Callable[[float], Reply]) -> None:
        self._future = future
        self._ended = ended
        self._read = read
        self.ended_s: float | None = None
        future.add_done_callback(self._end)

    def reply(self) -> Reply:
        """See `Call.reply`."""
        assert self.ended_s is not None
        return self._read(self.ended_s)

    def cancel(self) -> None:
        """See `Call.cancel`."""
        self._future.cancel()

    def _end(self, future: grpc.Future) -> None:
        with self._ended:
            self.ended_s = time.perf_counter()
            self._ended.notify_all()


def _random_number() -> int:
    """A number that identifies a request; not 0, and not to be guessed from earlier ones."""
    return secrets.randbits(63) + 1


def _require_past(field: str, cloud_s: float, elapsed_s: float) -> None:
    """Refuse times that a cloud cannot have taken.

    Args:
        field: first field that counts.
        cloud_s: how long the cloud says that it took.
        elapsed_s: how long the call took.

    Raises:
        WireError: the cloud took longer than the call.
    """
    require_field(
        cloud_s <= _CLOCKS * elapsed_s + _CLOCK_SLACK_S,
        field,
        f"and the cloud's other times are {cloud_s:.3g} s, but the call took {elapsed_s:.3g} s",
    )
