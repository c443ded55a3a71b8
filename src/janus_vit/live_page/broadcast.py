"""One update, serialised once, to every browser that watches."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

from janus_vit.live_page.feed import KEPT, PERIOD_S, Feed, Value

_VIEWERS, _VIEWERS_OF_CALLER = 32, 16  # the other half is for others
_WAITING = 2  # updates for one browser; a slow one gets the newest


class TooManyViewers(Exception):
    """No more browsers can watch."""


class Broadcast:
    """Takes updates from a feed and sends them as server-sent events. Lives in one event loop.

    Args:
        feed: source of the updates.

    Attributes:
        updates: number of updates so far.
    """

    def __init__(self, feed: Feed) -> None:
        self.updates = 0
        self._feed = feed
        self._viewers: dict[asyncio.Queue[bytes | None], str] = {}  # waiting updates, and whose they are
        self._tiles: deque[Sequence[Value]] = deque(maxlen=KEPT)

    async def run(self) -> None:
        """Update until cancelled."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            update = self._feed.update(time.monotonic())
            self.updates += 1
            self._tiles.append(update.tiles)
            if self._viewers:
                self._send(b"data: " + _json(asdict(update)) + b"\n\n")
            due_s = max(due_s + PERIOD_S, loop.time())
            await asyncio.sleep(due_s - loop.time())

    def history(self) -> bytes:
        """The last two minutes of every tile and every stream, as JSON.

        One stream at a time: other threads of the process run between two of them.
        """
        streams = b",".join(b'"%d":%s' % (number, _json(points)) for number, points in self._feed.points().items())
        return b'{"tiles":%s,"streams":{%s}}' % (_json(list(self._tiles)), streams)

    def join(self, caller: str) -> asyncio.Queue[bytes | None]:
        """Register a browser.

        Args:
            caller: whose it is: a token, or an address.

        Raises:
            TooManyViewers: there are too many, of all callers or of this one.
        """
        own = sum(each == caller for each in self._viewers.values())
        if len(self._viewers) >= _VIEWERS or own >= _VIEWERS_OF_CALLER:
            raise TooManyViewers
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING)
        self._viewers[waiting] = caller
        return waiting

    async def events(self, waiting: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        """The events for a browser, until `close`."""
        try:
            while (event := await waiting.get()) is not None:
                yield event
        finally:
            self._viewers.pop(waiting, None)

    def close(self) -> None:
        """End all events."""
        self._send(None)

    def _send(self, event: bytes | None) -> None:
        for waiting in self._viewers:
            if waiting.full():
                waiting.get_nowait()
            waiting.put_nowait(event)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
