"""A transport to a cloud in the same process, without a network: for tests and for trying things out."""

from __future__ import annotations

from concurrent.futures import Future

from janus_vit.cloud.service import CloudService
from janus_vit.planning.outcome import Transfer
from janus_vit.runtime.clock import Clock, WallClock
from janus_vit.wire.messages import Greeting, Reply, Request


class InProcess:
    """Hands requests to a `CloudService` in this process; a transfer takes no time."""

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
