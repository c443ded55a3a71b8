"""Servers and clients on loopback at the two ends of an emulated link."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import numpy as np
from patience import PATIENCE_S

from janus_vit.links.emulator import EmulatedLink, LinkSpec
from janus_vit.links.traces import Trace

TIMEOUT_S = PATIENCE_S
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def trace_of(*mbps: float, interval_s: float = 1.0) -> Trace:
    return Trace("test", interval_s, np.array(mbps))


FAST = LinkSpec(trace_of(400), trace_of(400))


@contextlib.contextmanager
def backend(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A TCP server that gives each connection to `serve` in a thread. Joins them all at the end."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def session(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(TIMEOUT_S)
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=session, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def connect(link: EmulatedLink, send_buffer_bytes: int | None = None) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.settimeout(TIMEOUT_S)
        if send_buffer_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        client.connect((link.host, link.port))
        yield client


def read_all(connection: socket.socket) -> bytes:
    """Until the other side ends its stream."""
    received = bytearray()
    while data := connection.recv(1 << 16):
        received += data
    return bytes(received)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def swallow(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        read_all(connection)


def reply_done(connection: socket.socket) -> None:
    """Answer one byte once everything has come."""
    read_all(connection)
    connection.sendall(b"!")


def exchange(client: socket.socket, payload: bytes) -> bytes:
    """Send everything and end the stream, while reading everything that comes back."""

    def send() -> None:
        client.sendall(payload)
        client.shutdown(socket.SHUT_WR)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        return read_all(client)
    finally:
        sending.join()
