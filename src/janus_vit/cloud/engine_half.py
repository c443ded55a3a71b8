"""The half of a cloud that computes: model, engine, scheduler and the engine's thread. Knows no gRPC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from janus_vit.cloud.batch_runner import BatchRunner
from janus_vit.cloud.ingest import Ingest
from janus_vit.cloud.loop import EngineLoop, OnBatch
from janus_vit.cloud.measure import measure_costs
from janus_vit.cloud.metrics import RequestRecord
from janus_vit.cloud.service import CloudService
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine, OneByOne
from janus_vit.model.engines.factory import engine_for
from janus_vit.planning.latency import PlatformProfile
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable, profile_costs
from janus_vit.scheduling.estimate import full_batch_s
from janus_vit.scheduling.scheduler import Scheduler
from janus_vit.tracing.request_spans import RequestTrace
from janus_vit.wire.messages import Greeting
from janus_vit.wire.stream_report import StreamReport


@dataclass(frozen=True, slots=True)
class Capacity:
    """Throughput of an engine.

    Attributes:
        engine: name of the engine.
        device: CPU or GPU that it runs on.
        precision: precision that it computes in.
        batch_frames: number of frames in its fastest batch.
        frames_per_s: unmerged frames per second in such batches.
    """

    engine: str
    device: str
    precision: str
    batch_frames: int
    frames_per_s: float

    @classmethod
    def of(cls, model: Model, engine: Engine, costs: CostTable, max_frames: int) -> Capacity:
        """Compute the throughput from the engine's cost table."""
        rates = {frames: frames / full_batch_s(costs, model.shape, frames) for frames in range(1, max_frames + 1)}
        best = max(rates, key=rates.__getitem__)
        return cls(engine.name, str(engine.device), engine.precision, best, rates[best])

    def __str__(self) -> str:
        batch = f"in batches of {self.batch_frames}" if self.batch_frames > 1 else "one by one"
        rate = f"{self.frames_per_s:,.0f} frames/s {batch}"
        return f"engine {self.engine} on {self.device} in {self.precision}, {rate}"


class EngineHalf:
    """Warms the engine up, measures its batches, and starts its thread.

    Args:
        model: the model to serve.
        profile: latency profile of this machine; devices get it when they connect.
        engine: the engine or its name.
        config: limits.
        costs: times of batches; default: measured now if the engine runs batches, otherwise taken from the profile.
        on_batch: see `EngineLoop`.

    Attributes:
        config: limits, adapted to the engine.
        capacity: throughput of the engine.
        greeting: the greeting that devices get when they connect.
        loop: computes the requests.

    Raises:
        InputError: the engine cannot be used.
    """

    def __init__(
        self,
        model: Model,
        profile: PlatformProfile,
        engine: Engine | str,
        config: CloudConfig,
        costs: CostTable | None = None,
        on_batch: OnBatch = lambda batch, elapsed_s, load: None,
    ) -> None:
        runner = engine_for(model, engine)
        self.config = adapted(config, runner)
        batches = BatchRunner(model, runner)
        batches.warm_up()
        table = costs or costs_of(model, runner, profile, self.config)
        self.capacity = Capacity.of(model, runner, table, self.config.max_batch_frames)
        scheduler = Scheduler(table, model.shape.blocks, self.config)
        self.loop = EngineLoop(scheduler, batches, on_batch)
        self.greeting = Greeting(
            model.name, model.fingerprint, profile.to_json(), _announced_blocks(scheduler, self.config)
        )
        self._shape = model.shape

    def service(
        self,
        on_ended: Callable[[RequestRecord], None] = lambda record: None,
        on_report: Callable[[StreamReport], None] = lambda report: None,
        on_trace: Callable[[RequestTrace], None] = lambda traced: None,
    ) -> CloudService:
        """Make the service that answers requests in this process; see `CloudService`."""
        ingest = Ingest(self._shape, self.greeting.fingerprint)
        return CloudService(self.greeting, ingest, self.loop, on_ended, on_report, on_trace)


def _announced_blocks(scheduler: Scheduler, config: CloudConfig) -> tuple[int, ...]:
    """Entry blocks to announce; none if the engine runs frames one by one, so that shared blocks gain nothing."""
    return scheduler.entry_blocks if config.max_batch_frames > 1 else ()


def adapted(config: CloudConfig, engine: Engine) -> CloudConfig:
    """Adapt the limits to an engine: an engine that gains nothing from batches runs each frame alone to its end."""
    return config.one_by_one() if isinstance(engine, OneByOne) else config


def costs_of(model: Model, engine: Engine, profile: PlatformProfile, config: CloudConfig) -> CostTable:
    """Times of batches on an engine: from the profile if it runs frames one by one, otherwise measured."""
    if isinstance(engine, OneByOne):
        return profile_costs(profile, model.shape)
    return measure_costs(model, engine, config.max_batch_frames)
