"""The HTTP page of a cloud's metrics. Whoever asks for nothing cannot hold its threads. Knows no engine or queue."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any

from prometheus_client import MetricsHandler

from janus_vit.cloud.metrics import CloudMetrics
from janus_vit.errors import InputError, described
from janus_vit.wire.addresses import LOOPBACK_HOSTS, is_loopback

_MOST_REQUESTS = 16
_REQUEST_S = 5.0
_PAUSE_S = 1.0  # after a failure
_PORT = re.compile(r":[0-9]*$")
_LOG = logging.getLogger("janus_vit.cloud")


class MetricsPage:
    """Serves `/metrics` over HTTP until it is closed.

    On loopback it answers to the names of this machine alone: a page that a browser here shows could let its own name
    point to this machine, and read the names of all devices.

    Args:
        metrics: the metrics to serve.
        host: host to listen on.
        port: port to listen on; 0 picks a free one, see `port`.

    Raises:
        InputError: the page cannot listen on the port.
    """

    def __init__(self, metrics: CloudMetrics, host: str, port: int) -> None:
        try:
            self._server = _Server(host, port, _handler(metrics, host))
        except OSError as error:
            raise InputError(
                f"metrics cannot be served on {host}:{port} ({error.strerror}): choose a free port"
            ) from error
        self.port: int = self._server.server_port
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="janus-metrics", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._serve_until_failure()

    def _serve_until_failure(self) -> None:
        try:
            self._server.serve_forever()
        except Exception as error:
            _LOG.error("the page of metrics failed (%s): it goes on", described(error))
            self._closed.wait(_PAUSE_S)

    def close(self) -> None:
        """Stop serving."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsPage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _handler(metrics: CloudMetrics, host: str) -> type[MetricsHandler]:
    """The handler of requests to a server on this host."""
    of_anybody = MetricsHandler.factory(metrics.registry)
    if not is_loopback(host):
        return of_anybody
    own = {*LOOPBACK_HOSTS, host.lower(), f"[{host.lower()}]"}

    class OfThisMachine(of_anybody):  # type: ignore[misc, valid-type] # prometheus_client makes it
        def do_GET(self) -> None:  # noqa: N802
            asked = _PORT.sub("", self.headers.get("Host", LOOPBACK_HOSTS[0])).lower()
            if asked in own:
                super().do_GET()
            else:
                self.send_error(400, "ask for this page by the address that the cloud printed")

    return OfThisMachine


class _Server(ThreadingHTTPServer):
    """Cuts a connection that takes long, and the oldest one when there are too many."""

    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, handler: Callable[..., Any]) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        self._open_until_s: dict[Any, float] = {}  # by socket, oldest first
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._open_until_s) >= _MOST_REQUESTS:
            self._cut(next(iter(self._open_until_s)))
        self._open_until_s[request] = time.monotonic() + _REQUEST_S
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open_until_s.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        now_s = time.monotonic()
        for request in [each for each, until_s in self._open_until_s.copy().items() if until_s < now_s]:
            self._cut(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a connection that breaks is no fault of the cloud."""

    def _cut(self, request: Any) -> None:
        """End a connection; its thread sees that and closes it."""
        self._open_until_s.pop(request, None)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
