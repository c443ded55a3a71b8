"""Set-ups to measure links with: a link, a server behind it, connections over it, and traffic in background threads."""

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

_LENGTH = struct.Struct("!Q")  # header of a message: the number of bytes that follow


@dataclass(frozen=True)
class LinkSetup:
    """A link and the server behind it.

    Attributes:
        link: carries the connections.
        listener: accepts them behind the link.
        tunnel: carries the link; None for the proxy.
    """

    link: EmulatedLink | TunnelledLink
    listener: socket.socket
    tunnel: Tunnel | None = None

    @contextlib.contextmanager
    def connected(self, control: str = CONGESTION_CONTROL) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Yield client and server socket of a fresh connection with that congestion control."""
        with socket.socket() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.connect((self.link.host, self.link.port))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
            server, _ = self.listener.accept()
            with server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield client, server


@contextlib.contextmanager
def open_tunnelled(spec: LinkSpec, loss: float = 0.0) -> Iterator[LinkSetup]:
    """Open a link through the packet tunnel."""
    with (
        Tunnel(spec, loss, seed=1) as tunnel,
        listen_in(tunnel.namespace, tunnel.host) as listener,
        tunnel.open_link(listener.getsockname()[1]) as link,
    ):
        yield LinkSetup(link, listener, tunnel)


@contextlib.contextmanager
def open_proxied(spec: LinkSpec) -> Iterator[LinkSetup]:
    """Open a link through the TCP proxy."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        EmulatedLink(spec, *listener.getsockname()) as link,
    ):
        yield LinkSetup(link, listener)


LINK_KINDS: dict[str, Callable[[LinkSpec], contextlib.AbstractContextManager[LinkSetup]]] = {
    "proxy": open_proxied,
    "tunnel": open_tunnelled,
}


def saturating(client: socket.socket) -> contextlib.AbstractContextManager[None]:
    """Send as fast as possible while the context is open."""

    def send() -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                client.sendall(bytes(64 * 1024))

    return _in_background(send, lambda: client.shutdown(socket.SHUT_RDWR))


def draining(server: socket.socket) -> contextlib.AbstractContextManager[None]:
    """Read and discard everything while the context is open."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while server.recv(1 << 20):
                pass

    return _in_background(read, lambda: server.shutdown(socket.SHUT_RDWR))


def acknowledging(server: socket.socket) -> contextlib.AbstractContextManager[None]:
    """Answer each message of `transfer_s` with one byte while the context is open."""

    def serve() -> None:
        while header := server.recv(_LENGTH.size, socket.MSG_WAITALL):
            (left,) = _LENGTH.unpack(header)
            while left:
                left -= len(server.recv(min(left, 1 << 20)))
            server.sendall(b"!")

    return _in_background(serve, lambda: server.shutdown(socket.SHUT_RD))


@contextlib.contextmanager
def _in_background(work: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Run `work` in a thread while the context is open; `stop` makes it return."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the other side has closed the connection
            stop()
        thread.join()


def transfer_s(client: socket.socket, size_bytes: int) -> float:
    """Send a message to an `acknowledging` server; return the seconds from its first byte to the answer."""
    began_s = time.perf_counter()
    client.sendall(_LENGTH.pack(size_bytes) + bytes(size_bytes))
    client.recv(1)
    return time.perf_counter() - began_s
