"""Serves a live page from a thread of its own, so that neither the engine nor the device waits for a browser."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from functools import partial
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any

from janus_vit.errors import InputError, described
from janus_vit.live_page.door import Door
from janus_vit.live_page.tls import PageTls, watched_context
from janus_vit.wire.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    import uvicorn

    from janus_vit.live_page.access import Identify
    from janus_vit.live_page.broadcast import Broadcast
    from janus_vit.live_page.feed import Feed

_BACKLOG = 64
_GRACE_S = 1.0
_STEP_S = 0.05
_LARGEST_PORT = 65_535
_PAUSE_S = 1.0  # after a failure
_LOG = logging.getLogger("janus_vit.live_page")


class LivePage:
    """Serves a page until it is closed; what fails meanwhile starts again.

    Args:
        feed: what the page shows.
        listen: "host:port"; port 0 picks a free one, see `port`.
        identify: returns the name that belongs to a token; None needs no token, on loopback or with client certificates
            only.
        tls: certificates; None serves without TLS.

    Raises:
        InputError: the page cannot listen there, everybody would be let in from other machines, the certificates cannot
            be used now, or starlette and uvicorn are not installed.
    """

    def __init__(self, feed: Feed, listen: str, identify: Identify | None = None, tls: PageTls | None = None) -> None:
        certified = tls is not None and tls.client_ca is not None
        check_page(listen, anonymous=identify is None and not certified, encrypted=tls is not None)
        from janus_vit.live_page.access import Access
        from janus_vit.live_page.app import make_app
        from janus_vit.live_page.broadcast import Broadcast
        from janus_vit.live_page.protocol import PromptProtocol

        context = None if tls is None else watched_context(tls).value
        host = listen.rpartition(":")[0]
        self._socket = _bound(listen)
        self._socket.listen(_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://{host}:{self.port}/"
        access = Access(identify, host, self.port, certified)

        def parts() -> tuple[uvicorn.Server, Door, Broadcast]:
            broadcast = Broadcast(feed)
            server = _server(make_app(feed, broadcast, access, secure=tls is not None))
            return server, Door(self._socket, partial(PromptProtocol, server), context), broadcast

        self._parts: Callable[[], tuple[uvicorn.Server, Door, Broadcast]] = parts
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="janus-page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> LivePage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        with self._socket:
            while not self._closed.is_set():
                self._serve_until_failure()

    def _serve_until_failure(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            _LOG.error("the live page failed (%s): it starts again", described(error))
            self._closed.wait(_PAUSE_S)

    async def _run(self) -> None:
        """Serve until the page is closed.

        Raises:
            Exception: a part has failed.
        """
        server, door, broadcast = self._parts()
        serving = asyncio.create_task(server.serve(sockets=[]))  # those that the door lets in
        background = [asyncio.create_task(door.run()), asyncio.create_task(broadcast.run())]
        tasks = [serving, *background]
        while not self._closed.is_set() and not any(task.done() for task in tasks):
            await asyncio.sleep(_STEP_S)
        failed = [task for task in tasks if task.done()]
        broadcast.close()
        server.should_exit = True
        for task in background:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in failed:
            task.result()
        if failed:
            raise RuntimeError("a part of it ended")


def _server(app: Any) -> uvicorn.Server:
    import uvicorn

    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=16_384,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(_GRACE_S),
    )
    config.load()
    return uvicorn.Server(config)


def check_page(listen: str, anonymous: bool, encrypted: bool) -> None:
    """Require that a page can be served; to be called before anything that takes long.

    Args:
        listen: "host:port".
        anonymous: whether everybody is let in.
        encrypted: whether the page is served with TLS.

    Raises:
        InputError: it cannot; see `LivePage`.
    """
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise InputError("--page needs starlette and uvicorn: pip install 'janus-vit[page]'")
    host, _, port = listen.rpartition(":")
    foreign = not is_loopback(host)
    if foreign and not encrypted and not anonymous:
        raise InputError(
            f"--page {listen}: tokens would cross the network in clear text: add --cert and --key, or write "
            f"127.0.0.1:{port or 8080}"
        )
    if foreign and anonymous:
        raise InputError(
            f"--page {listen}: without tokens the page is for this machine only: write 127.0.0.1:{port or 8080}"
        )
    _bound(listen).close()


def _bound(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    try:
        if not 0 <= int(port) <= _LARGEST_PORT:
            raise ValueError(f"no port {port}")
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"--page {listen}: cannot listen there: give HOST:PORT with a free port, such as 127.0.0.1:8080"
        ) from error
    return bound
