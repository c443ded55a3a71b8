"""A TCP proxy whose link fails on command: slow, silent, cut in the middle of a message, or changing bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from random import Random

from janus_vit.links.emulator import RESET_ON_CLOSE

_SEGMENT_BYTES = 1400
_POLL_S = 0.02


class FailingLink:
    """A running link to a server; all connections share its rate in each direction.

    Args:
        host: of the server.
        port: of the server.
        delay_s: one-way delay.
        mbps: rate in each direction.

    Attributes:
        mbps: rate in each direction; may be changed at any time.
        is_silent: True carries nothing; bytes wait.
        corrupted: share of the segments in which one byte is changed.
    """

    def __init__(self, host: str, port: int, delay_s: float, mbps: float = 20.0) -> None:
        self._server = (host, port)
        self._delay_s = delay_s
        self.mbps, self.is_silent, self.corrupted = mbps, False, 0.0
        self._random = Random(1)
        self._cuts: set[Callable[[], None]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="failing-link", daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def address(self) -> str:
        """The host:port to which clients connect."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection. Of a segment that is on its way, half arrives."""
        self._loop.call_soon_threadsafe(lambda: [cut() for cut in tuple(self._cuts)])

    def close(self) -> None:
        """Close the link and its connections."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        self._free_s = {"up": 0.0, "down": 0.0}
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._server)
        except OSError:
            writer.close()
            return
        ways = (
            asyncio.create_task(self._carry("up", reader, there_writer)),
            asyncio.create_task(self._carry("down", there_reader, writer)),
        )

        def cut() -> None:
            for end in (writer, there_writer):
                sock = end.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                end.transport.abort()
            for way in ways:
                way.cancel()

        self._cuts.add(cut)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # closed
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._cuts.discard(cut)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            there_writer.close()

    async def _carry(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry segments: each half by half, so that a cut between them is in the middle of a message."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_SEGMENT_BYTES):
                half = len(data) // 2
                for part in (data[:half], data[half:]):
                    await self._wait_for_room(way, len(part))
                    self._loop.call_later(self._delay_s, self._deliver, writer, self._damaged(part))
            await asyncio.sleep(self._delay_s)

    async def _wait_for_room(self, way: str, size_bytes: int) -> None:
        begin_s = max(self._loop.time(), self._free_s[way])
        self._free_s[way] = begin_s + size_bytes * 8e-6 / self.mbps
        if (left_s := self._free_s[way] - self._loop.time()) > 0:
            await asyncio.sleep(left_s)
        while self.is_silent:
            await asyncio.sleep(_POLL_S)

    def _damaged(self, data: bytes) -> bytes:
        if not data or self._random.random() >= self.corrupted:
            return data
        changed = bytearray(data)
        changed[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    @staticmethod
    def _deliver(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)
