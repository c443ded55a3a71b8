"""Where connections come in: never more at once than a page serves, also before their TLS handshake."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from janus_vit.cloud.access.callers import network_of

_CONNECTIONS = 64  # at once; a browser needs two
_CONNECTIONS_OF_ADDRESS = 32  # the other half is for others
_HANDSHAKE_S = 5.0
_PAUSE_S = 0.1  # after a failure to accept, such as too many open files


class Door:
    """Accepts connections, and closes those above a limit at once.

    Args:
        listening: a socket that listens. It becomes non-blocking.
        protocol: makes the protocol of a connection, which calls its argument when the connection is lost.
        context: gives the TLS context for the next handshake; None serves without TLS.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[Callable[[], None]], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        listening.setblocking(False)
        self._listening, self._protocol, self._context = listening, protocol, context
        self._open: Counter[str] = Counter()  # by address
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
        lost = asyncio.Event()
        context = None if self._context is None else self._context()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._protocol(lost.set),
                connected,
                ssl=context,
                ssl_handshake_timeout=None if context is None else _HANDSHAKE_S,
            )
            await lost.wait()
        except OSError:  # the handshake failed, or took too long
            pass
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
