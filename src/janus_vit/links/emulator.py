"""A TCP proxy on the loopback that is as slow, late and unsteady as a traced link. Needs no root.

Every chunk of bytes gets the time at which it leaves the link by integrating the trace from the moment at
which the chunk before it left, not from when the event loop woke: late wake-ups do not add up. A bounded queue
stands before each direction; while it is full the proxy does not read, and TCP slows the sender down. The delay
comes after: bytes that left the link are released one delay later, while others are on the link.

Limits: no loss, reordering or slow start; no jitter but the trace's and the scheduler's. Headers,
acknowledgements and TCP's handshake are free. The proxy's kernel buffers lengthen the queue by about 100 kB, the
sender's own by more unless it sets SO_SNDBUF. A queue shorter than about 20 ms of the rate cannot keep the link
busy. IPv4 and systems with POSIX sockets only. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from janus_vit.errors import InputError
from janus_vit.links.traces import Trace

PACKET_BYTES = 1500
MAX_CHUNK_BYTES = 64 * 1024
CHUNK_S = 0.005  # of the link's time: smooth to whoever measures, and 200 wake-ups a second when busy
SOCKET_BUFFER_BYTES = 64 * 1024  # small, or the kernel would swallow what the link should still be sending
SEGMENT_BYTES = 1400  # one of the loopback's own 64 kB fills that buffer, and TCP then stalls for 200 ms
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger for 0 s: close sends RST instead of FIN


@dataclass(frozen=True)
class LinkSpec:
    """What to emulate.

    up           trace of the direction from client to backend
    down         trace of the other direction; None: as fast as it goes
    delay_s      one way, in each direction
    queue_bytes  what may wait for the link in each direction, all connections together
    Raises InputError for a negative delay or a queue of less than two packets.
    """

    up: Trace
    down: Trace | None = None
    delay_s: float = 0.0
    queue_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delay_s) and self.delay_s >= 0):
            raise InputError(f"delay_s is {self.delay_s}; give seconds of 0 or more.")
        if self.queue_bytes < 2 * PACKET_BYTES:
            raise InputError(f"queue_bytes is {self.queue_bytes}; give at least {2 * PACKET_BYTES}.")


class EmulatedLink:
    """A running emulated link: whoever connects to `address` talks to the backend over it.

    All connections share the link. It and its trace run, in a thread of their own, from construction to stop()
    or the end of the `with` block. When the backend cannot be reached the client's connection is closed at once.
    Raises InputError when it cannot listen where it is told to.
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
        self._clock = _Clock()
        self._loop = asyncio.new_event_loop()
        self._relays: set[asyncio.Task[None]] = set()
        self._serving = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name=f"link-{self.port}", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """host:port to connect to."""
        return f"{self.host}:{self.port}"

    @property
    def elapsed_s(self) -> float:
        """Position in the (looping) trace."""
        return self._clock.now_s()

    def rate_mbps(self) -> float:
        """The uplink's true rate now."""
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
        up = _Shaper(self._spec.up, self._spec, self._clock)
        down = _Shaper(self._spec.down, self._spec, self._clock)
        self._loop.add_reader(self._listener, self._accept, up, down)
        try:
            await self._loop.create_future()  # until stop() cancels this
        finally:
            self._loop.remove_reader(self._listener)
            await _cancel(*self._relays)

    def _accept(self, up: _Shaper, down: _Shaper) -> None:
        # not by loop.sock_accept, which loses the connection when it is cancelled just after accepting
        try:
            client, _ = self._listener.accept()
        except OSError:  # no file descriptor is left: look again later, not at once and always
            self._loop.remove_reader(self._listener)
            self._loop.call_later(0.1, self._loop.add_reader, self._listener, self._accept, up, down)
            return
        client.setblocking(False)
        relay = self._loop.create_task(self._relay(client, up, down))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)
        # not left to _relay: a task that is cancelled before its first step runs none of its own code
        relay.add_done_callback(lambda _: client.close())

    async def _relay(self, client: socket.socket, up: _Shaper, down: _Shaper) -> None:
        with contextlib.suppress(OSError), socket.socket() as backend:  # the client sees its connection closed
            _prepare(backend)
            await self._loop.sock_connect(backend, self._backend)
            try:
                await _together(_Stream(up, client, backend).carry(), _Stream(down, backend, client).carry())
            except _SourceAbortError:
                for sock in (client, backend):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


class _SourceAbortError(Exception):
    """The sender reset its connection."""


class _Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def now_s(self) -> float:
        return time.monotonic() - self._start_s

    async def sleep_until(self, time_s: float) -> None:
        while (wait_s := time_s - self.now_s()) > 0:
            await asyncio.sleep(wait_s)


class _Shaper:
    """One direction of the link, shared by all connections: says when bytes come out at its other end."""

    def __init__(self, trace: Trace | None, spec: LinkSpec, clock: _Clock) -> None:
        self._trace = trace
        self._spec = spec
        self.clock = clock
        self._free_at_s = 0.0  # when the last admitted byte leaves the link
        self._queued: deque[tuple[float, int]] = deque()  # (leaves at, bytes), oldest first
        self._queued_bytes = 0
        self._turn = asyncio.Lock()  # first come, first served: connections alternate

    def chunk_bytes(self) -> int:
        """How much to read at once: what the link carries in CHUNK_S after all that is queued."""
        if self._trace is None:
            return MAX_CHUNK_BYTES
        start_s = max(self.clock.now_s(), self._free_at_s)
        carried_bytes = int(self._trace.bits_between(start_s, start_s + CHUNK_S) / 8)
        return min(max(carried_bytes, PACKET_BYTES), MAX_CHUNK_BYTES, self._spec.queue_bytes)

    async def admit(self, size_bytes: int) -> float:
        """Queue bytes that have just arrived, once there is room; the time at which they come out, seconds."""
        arrival_s = self.clock.now_s()
        if self._trace is None:
            return arrival_s + self._spec.delay_s
        async with self._turn:
            await self._room_for(size_bytes)
            self._free_at_s = self._trace.finish_time(max(arrival_s, self._free_at_s), size_bytes)
            self._queued.append((self._free_at_s, size_bytes))
            self._queued_bytes += size_bytes
            return self._free_at_s + self._spec.delay_s

    async def _room_for(self, size_bytes: int) -> None:
        while True:
            while self._queued and self._queued[0][0] <= self.clock.now_s():
                self._queued_bytes -= self._queued.popleft()[1]
            if self._queued_bytes + size_bytes <= self._spec.queue_bytes:
                return
            await self.clock.sleep_until(self._queued[0][0])


class _Stream:
    """One direction of one connection: source, shared shaper, delay line, target."""

    def __init__(self, shaper: _Shaper, source: socket.socket, target: socket.socket) -> None:
        self._shaper = shaper
        self._source = source
        self._target = target
        # (release_s, bytes), where b"" is the end of the stream and None an abort
        self._line: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        self._target_takes = asyncio.Event()  # not set while the target does not read what has come out
        self._target_takes.set()

    async def carry(self) -> None:
        """Move bytes until the source ends or the target is gone. Raises _SourceAbortError behind the data."""
        with contextlib.suppress(OSError):  # of the target; its own stream tells the source
            await _together(self._take_in(), self._put_out())

    async def _take_in(self) -> None:
        while True:
            await self._target_takes.wait()
            data = await self._read()
            release_s = await self._shaper.admit(len(data or b"-"))  # an end too waits through an outage
            self._line.put_nowait((release_s, data))
            if not data:
                return
            await asyncio.sleep(0)  # with a fast source nothing above waits: let the others run

    async def _read(self) -> bytes | None:
        with contextlib.suppress(OSError):
            try:
                return self._source.recv(self._shaper.chunk_bytes())
            except BlockingIOError:
                # the rate may be another by the time that bytes arrive: take one packet, then ask again
                return await asyncio.get_running_loop().sock_recv(self._source, PACKET_BYTES)
        return None

    async def _put_out(self) -> None:
        while True:
            release_s, data = await self._line.get()
            await self._shaper.clock.sleep_until(release_s)
            if data is None:
                raise _SourceAbortError
            if not data:
                self._target.shutdown(socket.SHUT_WR)
                return
            self._target_takes.clear()
            await asyncio.get_running_loop().sock_sendall(self._target, data)
            self._target_takes.set()


async def _together(*jobs: Coroutine[Any, Any, None]) -> None:
    """Run jobs side by side; the first that raises ends the others."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _cancel(*tasks)


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _prepare(sock: socket.socket) -> None:
    """Before a socket connects or listens. Accepted sockets inherit all but not to block."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    try:
        _prepare(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(f"cannot listen on {host}:{port} ({error}); choose another address or 0.") from error
    return listener
