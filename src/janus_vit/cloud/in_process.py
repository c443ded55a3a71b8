"""A transport to a cloud in the same process, without a network. For tests and experiments."""

from __future__ import annotations

from concurrent.futures import Future

from janus_vit.cloud.batch_runner import BatchRunner
from janus_vit.cloud.ingest import Ingest
from janus_vit.cloud.loop import EngineLoop
from janus_vit.cloud.service import CloudService
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.outcome import Transfer
from janus_vit.runtime.clock import Clock, WallClock
from janus_vit.runtime.transport import Probed
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import profile_costs
from janus_vit.scheduling.scheduler import Scheduler
from janus_vit.wire.messages import Greeting, Reply, Request


def local_service(
    model: Model, engine: Engine, profile: PlatformProfile, config: CloudConfig | None = None
) -> CloudService:
    """Make a service with its scheduler and engine thread in this process, without a network."""
    scheduler = Scheduler(profile_costs(profile, model.shape), model.shape.blocks, config or CloudConfig())
    loop = EngineLoop(scheduler, BatchRunner(model, engine))
    greeting = Greeting(model.name, model.fingerprint, profile.to_json(), scheduler.entry_blocks)
    return CloudService(greeting, Ingest(model.shape, model.fingerprint), loop)


class InProcess:
    """Passes requests to a `CloudService` in this process; a transfer takes no time."""

    def __init__(self, service: CloudService, clock: Clock | None = None) -> None:
        self._service = service
        self._clock = clock or WallClock()

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""
        return self._service.greeting()

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """See `Transport.infer`."""
        return self._service.handle(request, receive_s=0.0)

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Probed]:
        """See `Transport.probe`."""
        probed: Future[Probed] = Future()
        probed.set_result(Probed(Transfer(self._clock.now(), size_bytes, 0.0, 0.0), self._service.load()))
        return probed

    def close(self) -> None:
        """See `Transport.close`."""
        self._service.close()
