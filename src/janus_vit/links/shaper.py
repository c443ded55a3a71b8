"""Decide when bytes leave a traced link and arrive at its other end. Knows no sockets and no connections."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from janus_vit.links.traces import Trace

PACKET_BYTES = 1500
MAX_CHUNK_BYTES = 64 * 1024
CHUNK_S = 0.005  # link time per chunk: smooth to a receiver, and at most 200 wake-ups per second


class Clock:
    """Seconds since the clock was created."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def now_s(self) -> float:
        """Return the seconds since the clock was created."""
        return time.monotonic() - self._start_s

    async def sleep_until(self, time_s: float) -> None:
        """Sleep until the clock shows this time."""
        while (wait_s := time_s - self.now_s()) > 0:
            await asyncio.sleep(wait_s)


class Shaper:
    """One direction of a link, shared by all its connections.

    Args:
        trace: rate of the link; None means unlimited, without a queue.
        delay_s: one-way delay.
        queue_bytes: bytes that can wait for the link.
        clock: its zero is the start of the trace.
    """

    def __init__(self, trace: Trace | None, delay_s: float, queue_bytes: int, clock: Clock) -> None:
        self._trace = trace
        self._delay_s = delay_s
        self._queue_bytes = queue_bytes
        self.clock = clock
        self._free_at_s = 0.0  # when the last admitted byte leaves the link
        self._queued: deque[tuple[float, int]] = deque()  # (leaves at, bytes), oldest first
        self._queued_bytes = 0
        self._lock = asyncio.Lock()  # first come, first served, so that connections alternate

    def chunk_bytes(self) -> int:
        """Return how much to read at once: what the link carries in CHUNK_S once the queue is empty."""
        if self._trace is None:
            return MAX_CHUNK_BYTES
        start_s = max(self.clock.now_s(), self._free_at_s)
        carried_bytes = int(self._trace.bits_between(start_s, start_s + CHUNK_S) / 8)
        return min(max(carried_bytes, PACKET_BYTES), MAX_CHUNK_BYTES, self._queue_bytes)

    async def admit(self, size_bytes: int) -> float:
        """Wait for room in the queue, add bytes to it, and return the time at which they arrive, in seconds."""
        arrival_s = self.clock.now_s()
        if self._trace is None:
            return arrival_s + self._delay_s
        async with self._lock:
            await self._wait_for_room(size_bytes)
            self._free_at_s = self._trace.finish_time(max(arrival_s, self._free_at_s), size_bytes)
            self._queued.append((self._free_at_s, size_bytes))
            self._queued_bytes += size_bytes
            return self._free_at_s + self._delay_s

    async def _wait_for_room(self, size_bytes: int) -> None:
        while True:
            while self._queued and self._queued[0][0] <= self.clock.now_s():
                self._queued_bytes -= self._queued.popleft()[1]
            if self._queued_bytes + size_bytes <= self._queue_bytes:
                return
            await self.clock.sleep_until(self._queued[0][0])
