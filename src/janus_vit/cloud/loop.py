"""The engine's thread: schedule, run, hand out answers. One loop owns one engine and its scheduler."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from janus_vit.cloud.backend import Finished, OnFinished, Start
from janus_vit.cloud.batch_runner import BatchRunner, Step
from janus_vit.errors import DeadlineExceeded, JanusError, Overloaded, Unreachable
from janus_vit.model.stage import Activation
from janus_vit.planning.outcome import Answer
from janus_vit.scheduling.job import Batch, Job
from janus_vit.scheduling.scheduler import Load, Scheduler

_LOG = logging.getLogger("janus_vit.cloud")
_CLOSING = "the cloud is shutting down"
OnBatch = Callable[[Batch, float, Load], None]


@dataclass(slots=True)
class _Work:
    """What a waiting job holds."""

    job: Job
    start: Start
    on_finished: OnFinished
    compute_s: float = 0.0


class EngineLoop:
    """A backend that runs batches in a thread of this process.

    Args:
        scheduler: decides what runs next.
        runner: runs it.
        on_batch: told of every batch that ran, its time in seconds, and the load after it.
        clock: seconds, the clock of the jobs' deadlines.
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
        self._thread = threading.Thread(target=self._serve, name="janus-engine", daemon=True)
        self._thread.start()

    def check(self, job: Job) -> None:
        """See `Backend.check`."""
        with self._changed:
            self._require_open()
            self._scheduler.check(job, self._now())

    def submit(self, job: Job, start: Start, on_finished: OnFinished) -> None:
        """See `Backend.submit`."""
        with self._changed:
            self._require_open()
            evicted = self._scheduler.add(job, self._now())
            self._work[job.id] = _Work(job, start, on_finished)
            dropped = self._taken(evicted)
            self._changed.notify()
        self._fail(dropped, Overloaded("another device needed the place: this device has most requests waiting"))

    def cancel(self, job_id: int) -> None:
        """See `Backend.cancel`."""
        with self._changed:
            self._scheduler.cancel(job_id)
            self._work.pop(job_id, None)

    def load(self) -> Load:
        """What a request that came now would wait, and what it would cost."""
        with self._changed:
            return self._scheduler.load(self._now())

    def close(self) -> None:
        """See `Backend.close`."""
        with self._changed:
            self._closed = True
            dropped = list(self._work.values())
            self._work.clear()
            self._changed.notify()
        self._fail(dropped, Unreachable(_CLOSING))
        self._thread.join()

    def _require_open(self) -> None:
        if self._closed:
            raise Unreachable(_CLOSING)

    def _serve(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._run(batch)

    def _next_batch(self) -> Batch | None:
        """Wait until the scheduler has a batch; None once the loop is closed."""
        while True:
            with self._changed:
                if self._closed:
                    return None
                now_s = self._now()
                late = self._taken(self._scheduler.expire(now_s))
                batch = self._scheduler.next_batch(now_s)
                if batch is None and not late:
                    self._changed.wait(self._idle_s(now_s))
            self._fail(late, DeadlineExceeded("the deadline passed while the request waited"))
            if batch is not None:
                return batch

    def _idle_s(self, now_s: float) -> float | None:
        wake_s = self._scheduler.wake_s
        return None if wake_s is None else max(0.0, wake_s - now_s)

    def _run(self, batch: Batch) -> None:
        """Run a batch; jobs that were cancelled since it was scheduled are left out."""
        with self._changed:
            running = [self._work[job.id] for job in batch.jobs if job.id in self._work]
        began_s = self._now()
        steps = self._runner.run([work.start for work in running], batch.stop) if running else []
        elapsed_s = self._now() - began_s
        failed = [work.job.id for work, step in zip(running, steps, strict=True) if isinstance(step, JanusError)]
        with self._changed:
            self._scheduler.finish(batch, began_s + elapsed_s, failed)
            over = self._advance(running, steps, elapsed_s)
            load = self._scheduler.load(began_s + elapsed_s)
        self._on_batch(batch, elapsed_s, load)
        for work, step in over:
            self._finish(work, step, load)

    def _advance(
        self, running: Sequence[_Work], steps: Sequence[Step], elapsed_s: float
    ) -> list[tuple[_Work, Answer | JanusError]]:
        """Keep the activations of jobs that go on; give those that are over with their answers or errors."""
        over: list[tuple[_Work, Answer | JanusError]] = []
        for work, step in zip(running, steps, strict=True):
            work.compute_s += elapsed_s
            if isinstance(step, Activation):
                work.start = step
            elif self._work.pop(work.job.id, None) is not None:
                over.append((work, step))
        return over

    def _taken(self, jobs: Sequence[Job]) -> list[_Work]:
        """What these jobs hold, no longer held here."""
        held = [self._work.pop(job.id, None) for job in jobs]
        return [work for work in held if work is not None]

    def _fail(self, dropped: Sequence[_Work], error: JanusError) -> None:
        if dropped:
            load = self.load()
            for work in dropped:
                self._finish(work, error, load)

    def _finish(self, work: _Work, step: Answer | JanusError, load: Load) -> None:
        if isinstance(step, JanusError):
            finished = Finished(None, step, work.compute_s, load)
        else:
            finished = Finished(step, None, work.compute_s, load)
        try:
            work.on_finished(finished)
        except Exception:  # a connection that broke meanwhile must not stop the engine
            _LOG.exception("an answer could not be handed over")
