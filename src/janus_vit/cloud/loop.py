"""The engine's thread: schedule, run, deliver the answers. One loop owns one engine and its scheduler."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from janus_vit.cloud.backend import Finished, OnFinished, Start
from janus_vit.cloud.batch_runner import BatchRunner, Step
from janus_vit.errors import DeadlineExceeded, JanusError, Overloaded, Unreachable, described
from janus_vit.model.stage import Activation
from janus_vit.planning.outcome import Answer
from janus_vit.planning.price import EnginePrice
from janus_vit.scheduling.job import Batch, BatchRun, Job
from janus_vit.scheduling.scheduler import Load, Scheduler

_LOG = logging.getLogger("janus_vit.cloud")
_CLOSING = "the cloud is shutting down"
_NO_LOAD = Load(0.0, EnginePrice(), waiting=0, busy=False)
OnBatch = Callable[[Batch, float, Load], None]


@dataclass(slots=True)
class _Work:
    """A waiting or running job, its decoded payload or last activation, and the callback for its result."""

    job: Job
    start: Start
    on_finished: OnFinished
    batches: tuple[BatchRun, ...] = ()

    @property
    def compute_s(self) -> float:
        return sum(batch.ended_s - batch.began_s for batch in self.batches)


class EngineLoop:
    """A backend that runs batches in a thread of this process.

    Args:
        scheduler: decides what runs next.
        runner: runs the batches.
        on_batch: called after every batch with the batch, its time in seconds, and the load after it.
        clock: the clock of the jobs' deadlines, in seconds.

    Attributes:
        failure: why the thread has ended by itself, which fails all jobs; None if it has not.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: BatchRunner,
        on_batch: OnBatch = lambda batch, elapsed_s, load: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._on_batch = on_batch
        self._now = clock
        self._work: dict[int, _Work] = {}
        self._changed = threading.Condition()
        self._closed = False
        self.failure: str | None = None
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._serve, name="janus-engine", daemon=True)
        self._thread.start()

    def check(self, job: Job) -> None:
        """See `Backend.check`."""
        self._require_own_process()
        with self._changed:
            self._require_open()
            self._scheduler.check(job, self._now())

    def submit(self, job: Job, start: Start, on_finished: OnFinished) -> None:
        """See `Backend.submit`."""
        self._require_own_process()
        start = self._runner.upload(start)
        with self._changed:
            self._require_open()
            evicted = self._scheduler.add(job, self._now())
            self._work[job.id] = _Work(job, start, on_finished)
            dropped = self._pop(evicted)
            self._changed.notify()
        if dropped:
            load = self.load()
            reason = "the queue is full, and this device has the most requests waiting"
            self._finish_all(dropped, Overloaded(reason, load.expected_wait_s, load.price), load)

    def cancel(self, job_id: int) -> None:
        """See `Backend.cancel`."""
        with self._changed:
            self._scheduler.cancel(job_id)
            self._work.pop(job_id, None)

    def load(self) -> Load:
        """See `Backend.load`."""
        with self._changed:
            return self._scheduler.load(self._now())

    def close(self) -> None:
        """See `Backend.close`."""
        self._end()
        self._thread.join()

    def _end(self) -> None:
        """Take no more jobs, and fail those that wait."""
        with self._changed:
            self._closed = True
            dropped = list(self._work.values())
            self._work.clear()
            self._changed.notify()
        self._finish_all(dropped, Unreachable(_CLOSING), _NO_LOAD)

    def _require_own_process(self) -> None:
        """Refuse jobs in a forked process, which has no copy of the engine's thread: they would wait forever."""
        if os.getpid() != self._process:
            raise Unreachable("the engine runs in the process that was forked: make the cloud after the fork")

    def _require_open(self) -> None:
        if self._closed:
            raise Unreachable(_CLOSING)

    def _serve(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                self._run(batch)
        except BaseException as error:  # nobody else would run the jobs
            _LOG.critical("the engine's thread failed", exc_info=error)
            self.failure = f"the engine's thread has ended by itself ({described(error)})"
            self._end()

    def _next_batch(self) -> Batch | None:
        """Wait until the scheduler has a batch; None once the loop is closed."""
        while True:
            with self._changed:
                if self._closed:
                    return None
                now_s = self._now()
                late = self._pop(self._scheduler.expire(now_s))
                batch = self._scheduler.next_batch(now_s)
                late += self._pop(self._scheduler.expire(now_s))  # what was given up for that batch
                if batch is None and not late:
                    self._changed.wait(self._idle_s(now_s))
            if late:
                reason = "the deadline passed while the request waited"
                self._finish_all(late, DeadlineExceeded(reason), self.load())
            if batch is not None:
                return batch

    def _idle_s(self, now_s: float) -> float | None:
        wake_s = self._scheduler.wake_s
        return None if wake_s is None else max(0.0, wake_s - now_s)

    def _run(self, batch: Batch) -> None:
        """Run a batch without the jobs that were cancelled since it was scheduled."""
        with self._changed:
            running = [self._work[job.id] for job in batch.jobs if job.id in self._work]
        began_s = self._now()
        steps = self._runner.run([work.start for work in running], batch.stop) if running else []
        elapsed_s = self._now() - began_s
        failed = [work.job.id for work, step in zip(running, steps, strict=True) if isinstance(step, JanusError)]
        with self._changed:
            self._scheduler.finish(batch, began_s + elapsed_s, failed)
            ran = BatchRun(began_s, began_s + elapsed_s, len(running), batch.start, batch.stop)
            ended = self._advance(running, steps, ran)
            load = self._scheduler.load(began_s + elapsed_s)
        self._on_batch(batch, elapsed_s, load)
        for work, step in ended:
            self._finish(work, step, load)

    def _advance(
        self, running: Sequence[_Work], steps: Sequence[Step], ran: BatchRun
    ) -> list[tuple[_Work, Answer | JanusError]]:
        """Store the activations of jobs that go on; return the jobs that ended, with their answers or errors."""
        ended: list[tuple[_Work, Answer | JanusError]] = []
        for work, step in zip(running, steps, strict=True):
            work.batches += (ran,)
            if isinstance(step, Activation):
                work.start = step
            elif self._work.pop(work.job.id, None) is not None:
                ended.append((work, step))
        return ended

    def _pop(self, jobs: Sequence[Job]) -> list[_Work]:
        """Remove jobs from the waiting work and return their work."""
        found = [self._work.pop(job.id, None) for job in jobs]
        return [work for work in found if work is not None]

    def _finish_all(self, dropped: Sequence[_Work], error: JanusError, load: Load) -> None:
        for work in dropped:
            self._finish(work, error, load)

    def _finish(self, work: _Work, step: Answer | JanusError, load: Load) -> None:
        if isinstance(step, JanusError):
            finished = Finished(None, step, work.compute_s, load, work.batches)
        else:
            finished = Finished(step, None, work.compute_s, load, work.batches)
        try:
            work.on_finished(finished)
        except Exception:  # a broken connection must not stop the engine
            _LOG.exception("an answer could not be delivered")
