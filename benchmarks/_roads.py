"""Roads for bytes: a link, somebody who listens behind it, and what can be done over a connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from janus_vit.links.emulator import EmulatedLink, LinkSpec
from janus_vit.links.netns import CONGESTION_CONTROL, listen_in
from janus_vit.links.tunnel import Tunnel, TunnelledLink

LENGTH = struct.Struct("!Q")  # bytes that follow


@dataclass(frozen=True)
class Road:
    """A link and who listens behind it."""

    link: EmulatedLink | TunnelledLink
    listener: socket.socket
    tunnel: Tunnel | None = None

    @contextlib.contextmanager
    def connected(self, control: str = CONGESTION_CONTROL) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Both ends of a fresh connection over the link."""
        with socket.socket() as here:
            here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            here.connect((self.link.host, self.link.port))
            here.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
            there, _ = self.listener.accept()
            with there:
                there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield here, there


@contextlib.contextmanager
def tunnelled(spec: LinkSpec, loss: float = 0.0) -> Iterator[Road]:
    """A road over packets."""
    with (
        Tunnel(spec, loss, seed=1) as tunnel,
        listen_in(tunnel.namespace, tunnel.host) as listener,
        tunnel.open_link(listener.getsockname()[1]) as link,
    ):
        yield Road(link, listener, tunnel)


@contextlib.contextmanager
def proxied(spec: LinkSpec) -> Iterator[Road]:
    """A road over the TCP proxy."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        EmulatedLink(spec, *listener.getsockname()) as link,
    ):
        yield Road(link, listener)


ROADS: dict[str, Callable[[LinkSpec], contextlib.AbstractContextManager[Road]]] = {
    "proxy": proxied,
    "tunnel": tunnelled,
}


@contextlib.contextmanager
def saturated(here: socket.socket) -> Iterator[None]:
    """Send without end for as long as the context is open."""

    def send() -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                here.sendall(bytes(64 * 1024))

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield
    finally:
        here.shutdown(socket.SHUT_RDWR)
        sending.join()


@contextlib.contextmanager
def swallowing(there: socket.socket) -> Iterator[None]:
    """Read what comes, until the other side ends."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while there.recv(1 << 20):
                pass

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the other side has ended it
            there.shutdown(socket.SHUT_RDWR)
        reading.join()


@contextlib.contextmanager
def confirming(there: socket.socket) -> Iterator[None]:
    """Answer each message, a length and so many bytes, with one byte."""

    def serve() -> None:
        while header := there.recv(LENGTH.size, socket.MSG_WAITALL):
            (left,) = LENGTH.unpack(header)
            while left:
                left -= len(there.recv(min(left, 1 << 20)))
            there.sendall(b"!")

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield
    finally:
        there.shutdown(socket.SHUT_RD)
        serving.join()


def transfer_s(here: socket.socket, size_bytes: int) -> float:
    """From the first byte of a message to its confirmation."""
    began_s = time.perf_counter()
    here.sendall(LENGTH.pack(size_bytes) + bytes(size_bytes))
    here.recv(1)
    return time.perf_counter() - began_s
