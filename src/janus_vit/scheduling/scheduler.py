"""What a cloud's engine runs next: numbers and a clock in, batches out. Knows no tensor, thread or network.

Jobs of any clients run in waves: a batch stops at each entry block, and jobs that wait there join it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from janus_vit.errors import Overloaded
from janus_vit.planning.price import CloudLoad, EnginePrice
from janus_vit.scheduling.admission import Admission
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable
from janus_vit.scheduling.dispatch import Dispatcher
from janus_vit.scheduling.estimate import ArrivalRate, BatchCosts, Correction
from janus_vit.scheduling.fairness import EngineShares
from janus_vit.scheduling.job import Batch, Job
from janus_vit.scheduling.queue import DeadlineQueue, Waiting
from janus_vit.scheduling.shadow_price import ShadowPrice

_NEWEST_BATCH = 0.2  # weight of the newest batch in the mean size of batches


@dataclass(frozen=True, slots=True)
class Load:
    """What a request that came now would find.

    Attributes:
        expected_wait_s: time until it would begin to run.
        price: what it would cost in a batch of the present size.
        waiting: jobs that wait or run.
        busy: whether a batch runs.
    """

    expected_wait_s: float
    price: EnginePrice
    waiting: int
    busy: bool

    @property
    def told(self) -> CloudLoad:
        """The part that devices are told."""
        return CloudLoad(self.expected_wait_s, self.price)


@dataclass(frozen=True, slots=True)
class _Running:
    """The running batch, when it began, and its predicted seconds before correction."""

    batch: Batch
    began_s: float
    predicted_s: float


class Scheduler:
    """Decides which jobs are taken and which run next. Not thread-safe; every method takes the present time.

    Args:
        costs: how long the engine takes.
        blocks: depth of the model.
        config: limits.

    Attributes:
        entry_blocks: blocks at which batches stop, from 0 to the depth.
        wake_s: when to ask for a batch again if none runs although jobs wait; None, since that never happens.

    Raises:
        InputError: `config` lists an entry block that the model does not have.
    """

    def __init__(self, costs: CostTable, blocks: int, config: CloudConfig) -> None:
        self.entry_blocks = config.entries(blocks)
        self.wake_s: float | None = None
        self._config = config
        self._depth = blocks
        self._costs = BatchCosts(costs, blocks, config.max_batch_frames)
        self._correction = Correction()
        self._queue = DeadlineQueue(self._costs, self._correction)
        self._admission = Admission(self._queue, self._correction, config)
        self._dispatcher = Dispatcher(
            queue=self._queue,
            costs=self._costs,
            correction=self._correction,
            entries=self.entry_blocks,
            max_tokens=config.max_batch_tokens,
            least_segment_s=config.least_segment_s,
        )
        self._arrivals = ArrivalRate()
        self._shadow_price = ShadowPrice()
        self._shares = EngineShares()
        self._jobs: dict[int, Waiting] = {}  # all that wait or run
        self._given_up: list[Job] = []
        self._running: _Running | None = None
        self._free_s = 0.0  # predicted end of the running batch, or end of the last one
        self._wave = 0  # block at which the last batch stopped
        self._mean_frames = 1.0

    def check(self, job: Job, now_s: float) -> None:
        """Ask whether `add` would take a job.

        Raises:
            Rejected: as `add`.
        """
        waiting = self._waiting(job, now_s)
        self._admit(waiting, now_s)
        self._queue.remove(waiting)

    def add(self, job: Job, now_s: float) -> tuple[Job, ...]:
        """Take a job.

        Returns:
            Jobs of another client that had to go for it.

        Raises:
            Rejected: its client holds its limit.
            Overloaded: it cannot be in time given what is admitted, or too many wait.
        """
        waiting = self._waiting(job, now_s)
        evicted = self._admit(waiting, now_s)
        self._count(waiting, now_s)
        self._admission.shares.add(waiting)
        self._arrivals.count(now_s)
        self._jobs[job.id] = waiting
        if evicted is None:
            return ()
        self._forget(evicted)
        return (evicted.job,)

    def cancel(self, job_id: int) -> bool:
        """Drop a job; a running one is dropped at the end of its segment. False if there is none."""
        waiting = self._jobs.get(job_id)
        if waiting is not None:
            self._forget(waiting)
        return waiting is not None

    def next_batch(self, now_s: float) -> Batch | None:
        """What the free engine runs now; None if nothing waits."""
        assert self._running is None, "one batch runs at a time"
        if not self._queue.jobs:
            return None
        step = self._dispatcher.choose(self._wave, now_s, self._arrivals.hz(now_s))
        for waiting in step.given_up:
            self._given_up.append(waiting.job)
            self._forget(waiting)
        batch = Batch(tuple(waiting.job for waiting in step.members), step.start, step.stop)
        predicted_s = self._dispatcher.seconds(step.members, step.start, step.stop)
        self._running = _Running(batch, now_s, predicted_s)
        self._free_s = now_s + self._correction.factor * predicted_s
        self._mean_frames += _NEWEST_BATCH * (len(batch.jobs) - self._mean_frames)
        for waiting in step.members:
            waiting.running = True
            if step.stop == self._depth:
                self._queue.remove(waiting)
        if step.stop < self._depth:
            self._queue.advance(step.members, step.stop)
        return batch

    def finish(self, batch: Batch, now_s: float, failed: Collection[int] = ()) -> tuple[Job, ...]:
        """End the running batch; jobs that are not complete stand at its stop now.

        Returns:
            Jobs that are complete. Failed and cancelled ones are forgotten.
        """
        running = self._running
        assert running is not None, "only a running batch can end"
        assert batch is running.batch, "another batch runs"
        self._correction.learn(running.predicted_s, now_s - running.began_s)
        self._running, self._free_s, self._wave = None, now_s, batch.stop
        complete = []
        for job in batch.jobs:
            self._shares.used(job.client, (now_s - running.began_s) / len(batch.jobs), now_s)
            waiting = self._jobs.get(job.id)
            if waiting is None:
                continue
            waiting.running = False
            if job.id in failed:
                self._forget(waiting)
            elif batch.stop == self._depth:
                self._forget(waiting)
                complete.append(job)
        return tuple(complete)

    def expire(self, now_s: float) -> tuple[Job, ...]:
        """Drop jobs that can no longer be in time; gives also those that were given up for others."""
        free_s, factor = max(now_s, self._free_s), self._correction.factor
        late = [
            waiting
            for waiting in self._queue.jobs
            if not waiting.running and free_s + factor * waiting.rest_s(waiting.position, 0.0) > waiting.limit_s
        ]
        for waiting in late:
            self._forget(waiting)
        gone, self._given_up = self._given_up, []
        return (*gone, *(waiting.job for waiting in late))

    def load(self, now_s: float) -> Load:
        """What a job that came now would find."""
        wait_s = self._queue.wait_s(now_s, self._free_s)
        price = self._costs.price(max(1, round(self._mean_frames)), self._shadow_price.at(now_s))
        return Load(wait_s, price, len(self._jobs), self._running is not None)

    def _admit(self, waiting: Waiting, now_s: float) -> Waiting | None:
        """Put a job into the queue; a refusal counts and tells the price. Returns the job that has to go for it."""
        try:
            return self._admission.admit(waiting, now_s, max(now_s, self._free_s))
        except Overloaded as refusal:
            self._count(waiting, now_s)
            refusal.price = self.load(now_s).price
            raise

    def _count(self, waiting: Waiting, now_s: float) -> None:
        """Count a job as demand, unless even an idle engine could not answer it in time."""
        factor = self._correction.factor
        if now_s + factor * waiting.rest_s(waiting.position, 0.0) <= waiting.limit_s:
            self._shadow_price.count(factor * waiting.share_s(waiting.position), now_s)

    def _waiting(self, job: Job, now_s: float) -> Waiting:
        """Take a job of a greedy client, to be served after those of others.

        And take a job that will be late as if its client's patience were its deadline, but only while nobody else
        waits: for a client that still waits, a late answer is better than none. It must not make others late.
        """
        self._shares.asks(job.client, now_s)
        waiting = self._until(job.deadline_s, job)
        frame_s = self._correction.factor * waiting.share_s(waiting.position)
        waits_already = self._costs.max_frames == 1 and self._admission.shares.held(job.client) > 0
        if greed := self._shares.greed(job.client, frame_s, now_s, waits_already):  # who has used more is served later
            waiting.due_s = waiting.limit_s + greed * self._config.longest_wait_s
        if self._jobs or job.abandoned_s <= job.deadline_s:
            return waiting
        ends_s = now_s + self._correction.factor * waiting.rest_s(waiting.position, 0.0)
        return waiting if ends_s <= waiting.limit_s else self._until(job.abandoned_s, job)

    def _until(self, time_s: float, job: Job) -> Waiting:
        limit_s = time_s - self._config.safety_s
        return Waiting(job, limit_s, min(limit_s, job.arrived_s + self._config.longest_wait_s), self._costs)

    def _forget(self, waiting: Waiting) -> None:
        """A job is over: it takes no place any more."""
        del self._jobs[waiting.job.id]
        self._admission.shares.remove(waiting)
        if waiting.queued:
            self._queue.remove(waiting)
