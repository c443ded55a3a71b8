"""Clients that misbehave: connections that never finish a message, idle streams, floods of garbage."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread

import grpc

from janus_vit.wire.rpc import INFER

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9) + b"\x00\x40\x00\x00\x00\x00\x00\x00\x01" + bytes(4_000)
_BYTE_S = 0.1
_GARBAGE = b"\x0a\x03abc" + bytes(2_000)
_CALL_S = 0.005  # of a flood, between two calls


@contextmanager
def slow_loris(host: str, port: int, connections: int, streams: int) -> Iterator[None]:
    """Hold connections that send a byte at a time, and streams that send nothing."""
    ended = Event()

    def idle() -> Iterator[bytes]:
        ended.wait()
        yield from ()

    with ExitStack() as stack:
        stack.callback(ended.set)
        held = [stack.enter_context(socket.create_connection((host, port))) for _ in range(connections)]
        Thread(target=_drip, args=(held, ended), daemon=True).start()
        channel = stack.enter_context(grpc.insecure_channel(f"{host}:{port}"))
        call = channel.stream_unary(INFER)
        for _ in range(streams):
            call.future(idle(), timeout=60)
        yield


def _drip(held: list[socket.socket], ended: Event) -> None:
    for byte in _PREFACE:
        for each in held:
            with suppress(OSError):
                each.send(bytes([byte]))
        if ended.wait(_BYTE_S):
            return


@contextmanager
def flood(host: str, port: int) -> Iterator[None]:
    """Send requests that cannot be read, one after the other, and streams that are reset at once."""
    ended = Event()
    with ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(f"{host}:{port}"))
        thread = Thread(target=_call_again_and_again, args=(channel, ended), daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(ended.set)
        yield


def _call_again_and_again(channel: grpc.Channel, ended: Event) -> None:
    call = channel.stream_unary(INFER)
    while not ended.is_set():
        with suppress(grpc.RpcError):
            call(iter([_GARBAGE]), timeout=1)
        call.future(iter([_GARBAGE]), timeout=1).cancel()
        time.sleep(_CALL_S)
