"""Emulate a traced link with a TCP proxy on the loopback interface. Needs no root. Does not interpret the bytes.

Each direction has a rate from a trace, a bounded queue and a delay. The time at which a chunk of bytes leaves the link
is the integral of the trace from the time at which the previous chunk left. It does not depend on when the event loop
wakes up, so late wake-ups do not add up. While the queue is full the proxy stops reading, and TCP slows the sender
down. The delay comes after the rate limit and does not occupy the link.

Limits: there is no loss, reordering or slow start, and no jitter except the trace's and the operating system's.
Headers, acknowledgements and TCP's handshake cost nothing. The proxy's kernel buffers add about 100 kB to the queue,
and the sender's own buffer adds more unless it sets SO_SNDBUF. A queue shorter than about 20 ms of the rate cannot keep
the link busy. IPv4 and POSIX sockets only.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from janus_vit.errors import InputError
from janus_vit.links.shaper import PACKET_BYTES, Clock, Shaper
from janus_vit.links.traces import Trace

SOCKET_BUFFER_BYTES = 64 * 1024  # small, so that bytes wait in the emulated queue and not in the kernel
SEGMENT_BYTES = 1400  # a segment of the loopback's default 64 kB fills the buffer, and TCP then stalls for 200 ms
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger for 0 s: close sends RST instead of FIN


@dataclass(frozen=True)
class LinkSpec:
    """The link to emulate.

    Attributes:
        up: rate in the direction from the client to the backend.
        down: rate in the other direction; None means unlimited.
        delay_s: one-way delay in each direction.
        queue_bytes: bytes that can wait for the link in each direction, over all connections.

    Raises:
        InputError: the delay is negative, or the queue holds less than two packets.
    """

    up: Trace
    down: Trace | None = None
    delay_s: float = 0.0
    queue_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delay_s) and self.delay_s >= 0):
            raise InputError(f"delay_s is {self.delay_s}: use seconds of at least 0")
        if self.queue_bytes < 2 * PACKET_BYTES:
            raise InputError(f"queue_bytes is {self.queue_bytes}: use at least {2 * PACKET_BYTES}")


class EmulatedLink:
    """A running emulated link. A client that connects to `address` reaches the backend over the link.

    All connections share the link. The link and its trace run in a thread from construction until stop() or the end of
    the `with` block. If the backend cannot be reached, the client's connection is closed at once.

    Args:
        spec: the link to emulate.
        backend_host: host of the server behind the link.
        backend_port: port of the server behind the link.
        listen_host: address on which clients connect.
        listen_port: port on which clients connect; 0 chooses a free port.

    Raises:
        InputError: the address cannot be used to listen.
    """

    def __init__(
        self,
        spec: LinkSpec,
        backend_host: str,
        backend_port: int,
        listen_host: str = "127.0.0.1",
        listen_port: int = 0,
    ) -> None:
        self._spec = spec
        self._backend = (backend_host, backend_port)
        self._listener = _listen(listen_host, listen_port)
        self.host = listen_host
        self.port: int = self._listener.getsockname()[1]
        self._clock = Clock()
        self._loop = asyncio.new_event_loop()
        self._relays: set[asyncio.Task[None]] = set()
        self._serving = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name=f"link-{self.port}", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """The `host:port` to which clients connect."""
        return f"{self.host}:{self.port}"

    @property
    def elapsed_s(self) -> float:
        """Seconds since the trace began. The trace repeats at its end."""
        return self._clock.now_s()

    def rate_mbps(self) -> float:
        """Return the uplink's true rate now, in Mbps."""
        return self._spec.up.rate_at(self.elapsed_s)

    def stop(self) -> None:
        """Close all connections and the listening socket. A second call does nothing."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped before
            self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()

    def __enter__(self) -> EmulatedLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        with contextlib.closing(self._loop), self._listener, contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)

    async def _serve(self) -> None:
        spec = self._spec
        up, down = (Shaper(trace, spec.delay_s, spec.queue_bytes, self._clock) for trace in (spec.up, spec.down))
        self._loop.add_reader(self._listener, self._accept, up, down)
        try:
            await self._loop.create_future()  # runs until stop() cancels it
        finally:
            self._loop.remove_reader(self._listener)
            await _cancel(*self._relays)

    def _accept(self, up: Shaper, down: Shaper) -> None:
        # loop.sock_accept would lose a connection if it is cancelled just after accepting it
        try:
            client, _ = self._listener.accept()
        except OSError:  # out of file descriptors: try again later instead of in a busy loop
            self._loop.remove_reader(self._listener)
            self._loop.call_later(0.1, self._loop.add_reader, self._listener, self._accept, up, down)
            return
        client.setblocking(False)
        relay = self._loop.create_task(self._relay(client, up, down))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)
        # _relay cannot close the client itself: a task that is cancelled before its first step runs none of its code
        relay.add_done_callback(lambda _: client.close())

    async def _relay(self, client: socket.socket, up: Shaper, down: Shaper) -> None:
        with contextlib.suppress(OSError), socket.socket() as backend:  # on an error the client's connection closes
            _configure_socket(backend)
            await self._loop.sock_connect(backend, self._backend)
            try:
                await _run_together(_Stream(up, client, backend).relay(), _Stream(down, backend, client).relay())
            except _SourceAbortError:
                for sock in (client, backend):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


class _SourceAbortError(Exception):
    """The sender reset its connection."""


class _Stream:
    """One direction of one connection: from the source through the shared shaper and a delay to the target."""

    def __init__(self, shaper: Shaper, source: socket.socket, target: socket.socket) -> None:
        self._shaper = shaper
        self._source = source
        self._target = target
        # (release_s, bytes); b"" is the end of the stream and None a reset connection
        self._delayed: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        self._target_ready = asyncio.Event()  # cleared while the target does not read
        self._target_ready.set()

    async def relay(self) -> None:
        """Relay bytes until the source ends or the target closes.

        Raises:
            _SourceAbortError: the source reset its connection; raised after the bytes before the reset were relayed.
        """
        with contextlib.suppress(OSError):  # errors of the target; the other direction reports them to the source
            await _run_together(self._receive(), self._send())

    async def _receive(self) -> None:
        while True:
            await self._target_ready.wait()
            data = await self._read()
            release_s = await self._shaper.admit(len(data or b"-"))  # the end of a stream waits for an outage too
            self._delayed.put_nowait((release_s, data))
            if not data:
                return
            await asyncio.sleep(0)  # with a fast source nothing above yields: let other tasks run

    async def _read(self) -> bytes | None:
        with contextlib.suppress(OSError):
            try:
                return self._source.recv(self._shaper.chunk_bytes())
            except BlockingIOError:
                # read one packet only: the rate may have changed by the time that more bytes arrive
                return await asyncio.get_running_loop().sock_recv(self._source, PACKET_BYTES)
        return None

    async def _send(self) -> None:
        while True:
            release_s, data = await self._delayed.get()
            await self._shaper.clock.sleep_until(release_s)
            if data is None:
                raise _SourceAbortError
            if not data:
                self._target.shutdown(socket.SHUT_WR)
                return
            self._target_ready.clear()
            await asyncio.get_running_loop().sock_sendall(self._target, data)
            self._target_ready.set()


async def _run_together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run coroutines concurrently. If one raises, cancel the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _cancel(*tasks)


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _configure_socket(sock: socket.socket) -> None:
    """Set options before a socket connects or listens. Accepted sockets inherit all of them except non-blocking."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    try:
        _configure_socket(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"cannot listen on {host}:{port} ({error}): choose an address of this machine, and a free port or 0"
        ) from error
    return listener
