"""What a cloud's engine runs next: numbers and a clock in, batches out. Knows no tensor, thread or network.

Jobs of any clients run in waves: a batch stops at each entry block, and jobs that wait there join it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from janus_vit.cloud.admission import Shares, refuse_client, refuse_full, refuse_late
from janus_vit.cloud.config import CloudConfig
from janus_vit.cloud.costs import CostTable
from janus_vit.cloud.estimate import Estimator
from janus_vit.cloud.job import Batch, Job
from janus_vit.cloud.queue import DeadlineQueue, Forecast, Waiting
from janus_vit.planning.price import EnginePrice

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
        self._queue = DeadlineQueue(
            self._estimator, self.entry_blocks, config.max_batch_frames, config.max_batch_tokens
        )
        self._jobs: dict[int, Waiting] = {}
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
        best: tuple[int, list[Waiting], int] | None = None
        for members in self._candidates(now_s):
            stop = self._next_entry(members[0].position)
            late = self._late_after(members, stop, now_s)
            if best is None or late < best[0]:
                best = late, members, stop
            if late == 0:
                break
        assert best is not None
        return self._start(best[1], best[2], now_s)

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
        """Drop jobs that can no longer be in time."""
        hopeless = [waiting for waiting in self._queue.jobs if not waiting.running and self._hopeless(waiting, now_s)]
        for waiting in hopeless:
            self._forget(waiting)
        return tuple(waiting.job for waiting in hopeless)

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
        full = len(self._jobs) >= config.waiting_total
        self._queue.insert(waiting)
        self._jobs[job.id] = waiting
        if not full and self._forecast(now_s).late == 0:
            return None
        heavy = self._shares.to_evict_for(job.client)
        if heavy is not None:
            self._queue.remove(heavy)
            feasible = self._forecast(now_s).late == 0
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
        position, estimator = waiting.position, self._estimator
        seconds = estimator.segment_s(
            1,
            self._depth - position,
            waiting.work_between(position, self._depth),
            waiting.merges_between(position, self._depth),
        )
        return seconds + estimator.head_s(1) + (0.0 if position else estimator.stem_s(1))

    def _candidates(self, now_s: float) -> Iterator[list[Waiting]]:
        """Batches that could run next, the preferred one first.

        The running wave goes on; a new one starts at the rearmost position; if that makes somebody late, the jobs with
        the earliest deadlines run on their own.
        """
        at = {waiting.position for waiting in self._queue.jobs}
        if self._wave in at and self._wave:
            yield self._standing_at(self._wave)
        yield self._standing_at(min(at))
        group = self._queue.group(now_s)
        rear = min(waiting.position for waiting in group)
        yield self._standing_at(rear)
        yield self._limited([waiting for waiting in group if waiting.position == rear])
        leader = group[0]
        yield self._standing_at(leader.position)
        yield [leader]

    def _standing_at(self, position: int) -> list[Waiting]:
        return self._limited([waiting for waiting in self._queue.jobs if waiting.position == position])

    def _limited(self, members: list[Waiting]) -> list[Waiting]:
        """As many as a batch may hold, at least one."""
        chosen = members[: self._config.max_batch_frames]
        tokens = sum(waiting.job.tokens_at(waiting.position) for waiting in chosen)
        while tokens > self._config.max_batch_tokens and len(chosen) > 1:
            last = chosen.pop()
            tokens -= last.job.tokens_at(last.position)
        return chosen

    def _late_after(self, members: list[Waiting], stop: int, now_s: float) -> int:
        """Jobs that would be late if this batch ran first."""
        start = members[0].position
        end_s = now_s + self._batch_s(members, start, stop)
        late = 0
        for waiting in members:
            if stop == self._depth:
                late += end_s > waiting.due_s
                self._queue.remove(waiting)
            else:
                self._queue.move(waiting, stop)
        late += self._queue.forecast(end_s).late
        for waiting in members:
            if stop == self._depth:
                self._queue.insert(waiting)
            else:
                self._queue.move(waiting, start)
        return late

    def _batch_s(self, members: list[Waiting], start: int, stop: int) -> float:
        work = sum(waiting.work_between(start, stop) for waiting in members)
        merges = sum(waiting.merges_between(start, stop) for waiting in members)
        seconds = self._estimator.segment_s(len(members), stop - start, work, merges)
        if start == 0:
            seconds += self._estimator.stem_s(len(members))
        return seconds + self._estimator.head_s(len(members)) if stop == self._depth else seconds

    def _next_entry(self, position: int) -> int:
        return next((entry for entry in self.entry_blocks if entry > position), self._depth)

    def _start(self, members: list[Waiting], stop: int, now_s: float) -> Batch:
        start = members[0].position
        self._began_s, self._free_s = now_s, now_s + self._batch_s(members, start, stop)
        for waiting in members:
            waiting.running = True
            if stop == self._depth:
                self._queue.remove(waiting)
                waiting.position = stop
            else:
                self._queue.move(waiting, stop)
        self._frames += 0.2 * (len(members) - self._frames)
        self._batch = Batch(tuple(waiting.job for waiting in members), start, stop)
        return self._batch

    def _forget(self, waiting: Waiting) -> None:
        """A job is over: it takes no place any more."""
        del self._jobs[waiting.job.id]
        self._shares.remove(waiting)
        if waiting.queued:
            self._queue.remove(waiting)
