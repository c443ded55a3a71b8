"""Where connections come in: never more at once, or more often, than a page serves, before TLS as well."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from janus_vit.cloud.access.callers import network_of
from janus_vit.live_page.pace import Pace

MakeProtocol: TypeAlias = Callable[[Callable[[], None], Callable[[], float]], asyncio.Protocol]

_CONNECTIONS = 64  # at once; a browser needs two
_CONNECTIONS_OF_ADDRESS = 32  # the other half is for others
_HANDSHAKE_S = 5.0
_PAUSE_S = 0.1  # after a failure to accept, such as too many open files


class Door:
    """Accepts connections, and closes those above a limit at once.

    Args:
        listening: a socket that listens. It becomes non-blocking.
        protocol: makes the protocol of a connection. It calls its first argument when the connection is lost, and its
            second one after each answer, which returns how long to wait for the next request.
        context: gives the TLS context for the next handshake; None serves without TLS.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: MakeProtocol,
        context: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        listening.setblocking(False)
        self._listening, self._protocol, self._context = listening, protocol, context
        self._open: Counter[str] = Counter()  # by address
        self._pace = Pace()
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, place = await loop.sock_accept(self._listening)
            except OSError:
                await asyncio.sleep(_PAUSE_S)
                continue
            address = network_of(place[0].partition("%")[0])
            if self._open.total() >= _CONNECTIONS or self._open[address] >= _CONNECTIONS_OF_ADDRESS:
                connected.close()
                continue
            self._open[address] += 1
            serving = asyncio.create_task(self._serve(connected, address))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)

    async def _serve(self, connected: socket.socket, address: str) -> None:
        lost, count = asyncio.Event(), partial(self._pace.count, address)
        try:
            await asyncio.sleep(count())
            context = None if self._context is None else self._context()
            with suppress(OSError):  # the handshake failed, or took too long
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: self._protocol(lost.set, count),
                    connected,
                    ssl=context,
                    ssl_handshake_timeout=None if context is None else _HANDSHAKE_S,
                )
                await lost.wait()
        finally:
            connected.close()
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
