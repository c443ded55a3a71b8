"""What a cloud's engine runs next: numbers and a clock in, batches out. Knows no tensor, thread or network.

Jobs of any clients run in waves: a batch stops at each entry block, and jobs that wait there join it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from janus_vit.planning.price import EnginePrice
from janus_vit.scheduling.admission import Shares, refuse_client, refuse_full, refuse_late
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable
from janus_vit.scheduling.dispatch import Dispatcher
from janus_vit.scheduling.estimate import Estimator
from janus_vit.scheduling.job import Batch, Job
from janus_vit.scheduling.queue import DeadlineQueue, Forecast, Waiting

_LONGEST_WAIT_TOLD_S = 10.0


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


class Scheduler:
    """Decides which jobs are taken and which run next. Not thread-safe; every method takes the present time.

    Args:
        costs: how long the engine takes.
        blocks: depth of the model.
        config: limits.
    """

    def __init__(self, costs: CostTable, blocks: int, config: CloudConfig) -> None:
        self._config = config
        self.entry_blocks = config.entries(blocks)
        self._depth = blocks
        self._estimator = Estimator(costs, config.max_batch_frames)
        self._queue = DeadlineQueue(self._estimator, blocks, config.max_batch_frames, config.max_batch_tokens)
        self._dispatcher = Dispatcher(
            self._queue, self._estimator, self.entry_blocks, config.max_batch_frames, config.max_batch_tokens
        )
        self._jobs: dict[int, Waiting] = {}
        self._given_up: list[Job] = []
        self._shares = Shares()
        self._wave = 0  # block at which the running wave stands
        self._batch: Batch | None = None
        self._began_s = self._free_s = 0.0
        self._frames = 1.0  # mean size of the last batches
        self.wake_s: float | None = None

    def check(self, job: Job, now_s: float) -> None:
        """Ask whether `add` would take a job.

        Raises:
            Rejected: it would not.
        """
        self._place(job, now_s)
        self._queue.remove(self._jobs.pop(job.id))

    def add(self, job: Job, now_s: float) -> tuple[Job, ...]:
        """Take a job.

        Returns:
            Jobs of another client that had to go for it.

        Raises:
            Rejected: it cannot be in time given what is admitted, or too many wait.
        """
        evicted = self._place(job, now_s)
        self._shares.add(self._jobs[job.id])
        if evicted is None:
            return ()
        self._forget(evicted)
        return (evicted.job,)

    def cancel(self, job_id: int) -> bool:
        """Drop a job; a running one is dropped at the end of its segment. False if there is none."""
        waiting = self._jobs.get(job_id)
        if waiting is None:
            return False
        self._forget(waiting)
        return True

    def next_batch(self, now_s: float) -> Batch | None:
        """What the free engine runs now; None if nothing waits."""
        assert self._batch is None, "one batch runs at a time"
        if not self._queue.jobs:
            return None
        step = self._dispatcher.choose(self._wave, now_s)
        for waiting in step.given_up:
            self._given_up.append(waiting.job)
            self._forget(waiting)
        self._batch = Batch(tuple(waiting.job for waiting in step.members), step.members[0].position, step.stop)
        self._began_s, self._free_s = now_s, now_s + step.seconds
        for waiting in step.members:
            waiting.running = True
            if step.stop == self._depth:
                self._queue.remove(waiting)
            else:
                self._queue.move(waiting, step.stop)
        self._frames += 0.2 * (len(step.members) - self._frames)
        return self._batch

    def finish(self, batch: Batch, now_s: float, failed: Collection[int] = ()) -> tuple[Job, ...]:
        """End a batch; jobs that are not complete stand at its stop now.

        Returns:
            Jobs that are complete. Failed and cancelled ones are forgotten.
        """
        assert batch is self._batch, "only the running batch can end"
        self._estimator.learn(self._free_s - self._began_s, now_s - self._began_s)
        self._batch, self._free_s, self._wave = None, now_s, batch.stop
        left = [self._jobs[job.id] for job in batch.jobs if job.id in self._jobs]
        done = []
        for waiting in left:
            waiting.running = False
            if waiting.job.id in failed:
                self._forget(waiting)
            elif batch.stop == self._depth:
                self._forget(waiting)
                done.append(waiting.job)
        return tuple(done)

    def expire(self, now_s: float) -> tuple[Job, ...]:
        """Drop jobs that can no longer be in time; gives also those that were given up for others."""
        free_s = max(now_s, self._free_s)
        hopeless = [waiting for waiting in self._queue.jobs if not waiting.running and self._hopeless(waiting, free_s)]
        for waiting in hopeless:
            self._forget(waiting)
        gone, self._given_up = self._given_up, []
        return (*gone, *(waiting.job for waiting in hopeless))

    def load(self, now_s: float) -> Load:
        """What a job that came now would find."""
        wait_s = min(_LONGEST_WAIT_TOLD_S, max(0.0, self._forecast(now_s).last_start_s - now_s))
        price = self._estimator.price(max(1, round(self._frames)))
        return Load(wait_s, price, len(self._jobs), self._batch is not None)

    def _place(self, job: Job, now_s: float) -> Waiting | None:
        """Put a job into the queue; gives the job that must go for it. Raises Rejected and changes nothing else."""
        config = self._config
        if self._shares.held(job.client) >= config.waiting_per_client:
            raise refuse_client(job.client, config.waiting_per_client)
        waiting = Waiting(job, self._due_s(job))
        full, free_s = len(self._jobs) >= config.waiting_total, max(now_s, self._free_s)
        self._queue.insert(waiting)
        self._jobs[job.id] = waiting
        if not full and self._queue.admits(waiting, free_s):
            return None
        heavy = self._shares.to_evict_for(job.client)
        if heavy is not None:
            self._queue.remove(heavy)
            feasible = self._queue.admits(waiting, free_s)
            self._queue.insert(heavy)
            if feasible:
                return heavy
        self._queue.remove(waiting)
        del self._jobs[job.id]
        wait_s = self.load(now_s).expected_wait_s
        if full:
            raise refuse_full(config.waiting_total, wait_s)
        raise refuse_late(wait_s, self._alone_s(waiting), job.deadline_s - now_s)

    def _due_s(self, job: Job) -> float:
        return min(job.deadline_s, job.arrived_s + self._config.longest_wait_s) - self._config.safety_s

    def _forecast(self, now_s: float) -> Forecast:
        return self._queue.forecast(max(now_s, self._free_s))

    def _hopeless(self, waiting: Waiting, now_s: float) -> bool:
        return now_s + self._alone_s(waiting) > waiting.job.deadline_s

    def _alone_s(self, waiting: Waiting) -> float:
        """Seconds of the rest of a job if nothing else ran."""
        return self._dispatcher.batch_s([waiting], self._depth)

    def _forget(self, waiting: Waiting) -> None:
        """A job is over: it takes no place any more."""
        del self._jobs[waiting.job.id]
        self._shares.remove(waiting)
        if waiting.queued:
            self._queue.remove(waiting)
