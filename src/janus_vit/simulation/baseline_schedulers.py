"""Schedulers of other servers, to compare with the cloud's. They run all remaining blocks of a frame in one batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from janus_vit.scheduling.costs import CostTable
from janus_vit.scheduling.estimate import BatchCosts
from janus_vit.scheduling.job import Batch, Job


class _Unsegmented:
    """Common part of the baselines: admit every job, and drop those that are already late."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._waiting: list[Job] = []
        self.wake_s: float | None = None

    def check(self, job: Job, now_s: float) -> None:
        """Every job would be admitted."""

    def add(self, job: Job, now_s: float) -> tuple[Job, ...]:
        """Admit the job."""
        self._waiting.append(job)
        return ()

    def finish(self, batch: Batch, now_s: float, failed: Collection[int] = ()) -> tuple[Job, ...]:
        """Return the jobs of a batch, which are all complete."""
        return tuple(job for job in batch.jobs if job.id not in failed)

    def cancel(self, job_id: int) -> bool:
        """Drop a job that waits; one that runs is finished."""
        waiting = len(self._waiting)
        self._waiting = [job for job in self._waiting if job.id != job_id]
        return len(self._waiting) < waiting

    def expire(self, now_s: float) -> tuple[Job, ...]:
        """Drop jobs that are late by now."""
        late = tuple(job for job in self._waiting if self._is_hopeless(job, now_s))
        if late:
            self._drop(late)
        return late

    def _is_hopeless(self, job: Job, now_s: float) -> bool:
        return now_s >= job.deadline_s

    def _run(self, jobs: Sequence[Job]) -> Batch:
        self._drop(jobs)
        return Batch(tuple(jobs), jobs[0].entry, self._depth)

    def _drop(self, jobs: Sequence[Job]) -> None:
        dropped = {job.id for job in jobs}
        self._waiting = [job for job in self._waiting if job.id not in dropped]


class OneAtATime(_Unsegmented):
    """Runs one job after the other, in order of arrival."""

    def next_batch(self, now_s: float) -> Batch | None:
        """Return the oldest job."""
        return self._run(self._waiting[:1]) if self._waiting else None


class FixedDelay(_Unsegmented):
    """Runs batches of one entry block in order of arrival, when a preferred size or a fixed delay is reached.

    This is what NVIDIA Triton's dynamic batcher does with `preferred_batch_size` and `max_queue_delay_microseconds`.
    """

    def __init__(self, depth: int, delay_s: float, preferred: Sequence[int]) -> None:
        super().__init__(depth)
        self._delay_s = delay_s
        self._preferred = sorted(preferred)

    def next_batch(self, now_s: float) -> Batch | None:
        """Return the batch of the oldest job if it has a preferred size or has waited long enough."""
        self.wake_s = None
        for entry in dict.fromkeys(job.entry for job in self._waiting):
            jobs = [job for job in self._waiting if job.entry == entry][: self._preferred[-1]]
            size = max((size for size in self._preferred if size <= len(jobs)), default=0)
            if size == self._preferred[-1] or now_s >= jobs[0].arrived_s + self._delay_s:
                return self._run(jobs[: size or len(jobs)])
            wake_s = jobs[0].arrived_s + self._delay_s
            self.wake_s = wake_s if self.wake_s is None else min(self.wake_s, wake_s)
        return None


class EarliestDeadlineBatches(_Unsegmented):
    """Runs batches of one entry block in order of deadlines, as large as possible; no job joins a running batch.

    Args:
        table: times of the engine. A job that could not be in time even alone is dropped.
        depth: number of blocks of the model.
        max_frames: largest number of frames in a batch.
    """

    def __init__(self, table: CostTable, depth: int, max_frames: int) -> None:
        super().__init__(depth)
        self._costs = BatchCosts(table, depth, 1)
        self._max_frames = max_frames

    def next_batch(self, now_s: float) -> Batch | None:
        """Return the job with the earliest deadline and the jobs at the same entry block."""
        if not self._waiting:
            return None
        self._waiting.sort(key=lambda job: job.deadline_s)
        entry = self._waiting[0].entry
        return self._run([job for job in self._waiting if job.entry == entry][: self._max_frames])

    def _is_hopeless(self, job: Job, now_s: float) -> bool:
        return now_s + self._costs.route(job.tokens).alone_s[0] > job.deadline_s
