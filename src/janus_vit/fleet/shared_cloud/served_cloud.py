"""A cloud in virtual time: the live scheduler, or a baseline, and an engine of known times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from janus_vit.errors import DeadlineExceeded, JanusError, Rejected
from janus_vit.fleet.shared_cloud.world import World
from janus_vit.planning.price import CloudLoad, EnginePrice
from janus_vit.scheduling.job import Batch, Job
from janus_vit.simulation.replay import BatchPolicy, Engine

NO_LOAD = CloudLoad(0.0, EnginePrice())


class FleetScheduler(BatchPolicy, Protocol):
    """A batch policy that also forgets jobs and tells its load. `scheduling.scheduler.Scheduler` is one."""

    def check(self, job: Job, now_s: float) -> None:
        """Ask whether `add` would take a job. Raises Rejected."""

    def cancel(self, job_id: int) -> bool:
        """Forget a job."""


@dataclass(frozen=True, slots=True)
class Served:
    """How a job ended.

    Attributes:
        error: why there is no answer; None if there is one.
        compute_s: time in batches.
        load: of the cloud at that time.
    """

    error: JanusError | None
    compute_s: float
    load: CloudLoad


@dataclass(slots=True)
class _Work:
    on_ended: Callable[[Served], None]
    compute_s: float = 0.0


class ServedCloud:
    """Runs jobs as `cloud.loop.EngineLoop` does, in virtual time.

    Args:
        world: its time.
        scheduler: decides what runs.
        engine: seconds that a batch takes.
        load: tells the load to devices; None tells nothing, as other servers do.

    Attributes:
        busy_s: time in which the engine ran.
        frames_s: frames in a batch times its seconds, added up.
        refused: jobs that were not taken.
        prices: time and price in right answers per engine second, after each batch.
    """

    def __init__(
        self,
        world: World,
        scheduler: FleetScheduler,
        engine: Engine,
        load: Callable[[float], CloudLoad] | None = None,
    ) -> None:
        self._world = world
        self._scheduler = scheduler
        self._engine = engine
        self._load = load
        self._ids = count()
        self._work: dict[int, _Work] = {}
        self._running = False
        self._wake_s: float | None = None
        self.busy_s = 0.0
        self.frames_s = 0.0
        self.refused = 0
        self.prices: list[tuple[float, float]] = []

    def next_id(self) -> int:
        """A number for the next job."""
        return next(self._ids)

    def load(self) -> CloudLoad:
        """What a job that came now would find."""
        return self._load(self._world.now_s) if self._load else NO_LOAD

    def check(self, job: Job) -> None:
        """Ask whether a job would be taken.

        Raises:
            Rejected: it would not.
        """
        try:
            self._scheduler.check(job, self._world.now_s)
        except Rejected:
            self.refused += 1
            raise

    def submit(self, job: Job, on_ended: Callable[[Served], None]) -> None:
        """Take a job; `on_ended` is called when it has ended, unless it is cancelled.

        Raises:
            Rejected: it is not taken.
        """
        try:
            evicted = self._scheduler.add(job, self._world.now_s)
        except Rejected:
            self.refused += 1
            raise
        self._work[job.id] = _Work(on_ended)
        self._fail(evicted, Rejected("another device had to be served first"))
        self._go_on()

    def cancel(self, job_id: int) -> None:
        """Forget a job whose device has given up."""
        self._scheduler.cancel(job_id)
        self._work.pop(job_id, None)

    def _go_on(self) -> None:
        """Run the next batch if the engine is free."""
        if self._running:
            return
        now_s, scheduler = self._world.now_s, self._scheduler
        late = DeadlineExceeded("the deadline passed while the request waited")
        self._fail(scheduler.expire(now_s), late)
        batch = scheduler.next_batch(now_s)
        self._fail(scheduler.expire(now_s), late)  # what was given up for that batch
        if batch is not None:
            self._running = True
            seconds = self._engine(batch)
            self._world.at(now_s + seconds, lambda: self._finish(batch, seconds))
        elif scheduler.wake_s is not None and scheduler.wake_s != self._wake_s:
            self._wake_s = scheduler.wake_s
            self._world.at(scheduler.wake_s, self._go_on)

    def _finish(self, batch: Batch, seconds: float) -> None:
        self._running = False
        self.busy_s += seconds
        self.frames_s += seconds * len(batch.jobs)
        complete = self._scheduler.finish(batch, self._world.now_s)
        load = self.load()
        self.prices.append((self._world.now_s, load.price.answers_per_s))
        for job in batch.jobs:
            if job.id in self._work:
                self._work[job.id].compute_s += seconds
        for job in complete:
            work = self._work.pop(job.id, None)
            if work is not None:
                work.on_ended(Served(None, work.compute_s, load))
        self._go_on()

    def _fail(self, jobs: Iterable[Job], error: JanusError) -> None:
        for job in jobs:
            work = self._work.pop(job.id, None)
            if work is not None:
                work.on_ended(Served(error, work.compute_s, self.load()))
