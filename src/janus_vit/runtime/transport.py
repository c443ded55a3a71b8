"""How a request reaches the cloud: one method, and a look at the link. `InProcess` is the fake that ships."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from janus_vit.planning.outcome import Transfer
from janus_vit.runtime.clock import Clock, WallClock
from janus_vit.runtime.service import CloudService
from janus_vit.wire.messages import Greeting, Reply, Request


class Transport(Protocol):
    """Carries requests to one cloud."""

    def hello(self, timeout_s: float) -> Greeting:
        """Ask the cloud what it runs.

        Raises:
            TransportError, WireError: no answer, or none that can be read.
        """

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """Let the cloud finish a frame.

        Raises:
            TransportError, WireError: no answer in time, a refusal, or a reply that cannot be read.
        """

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Transfer]:
        """Start sending bytes only to look at the link; the future gives what was seen and never raises."""

    def close(self) -> None:
        """Let go of the connection."""


class InProcess:
    """A cloud in the same process, over no network: for tests and for trying things out."""

    def __init__(self, service: CloudService, clock: Clock | None = None) -> None:
        self._service = service
        self._clock = clock or WallClock()

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""
        return self._service.greeting()

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """See `Transport.infer`."""
        return self._service.handle(request, receive_s=0.0)

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Transfer]:
        """See `Transport.probe`."""
        seen: Future[Transfer] = Future()
        seen.set_result(Transfer(self._clock.now(), size_bytes, 0.0, 0.0))
        return seen

    def close(self) -> None:
        """See `Transport.close`."""
        self._service.close()
