"""One worker for many devices: their requests are served in turn. Knows neither tensors nor networks."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from janus_vit.errors import DeadlineExceeded, Rejected, Unreachable

Result = TypeVar("Result")
_WEIGHT = 0.1  # of one job in the average job time


@dataclass(frozen=True, slots=True)
class _Job(Generic[Result]):
    run: Callable[[], Result]
    deadline_s: float
    result: Future[Result]


class FairQueue(Generic[Result]):
    """Runs jobs one at a time; a device with many waiting jobs cannot delay one with few.

    Args:
        waiting_per_device: more waiting jobs of one device are refused.
    """

    def __init__(self, waiting_per_device: int = 4) -> None:
        self._limit = waiting_per_device
        self._waiting: OrderedDict[str, deque[_Job[Result]]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._running = 0
        self._job_s = 0.0
        self._thread = threading.Thread(target=self._work, name="janus-compute", daemon=True)
        self._thread.start()

    def submit(self, device: str, run: Callable[[], Result], deadline_s: float) -> Future[Result]:
        """Queue a job; one that has not begun at `deadline_s` (time.perf_counter) fails with DeadlineExceeded.

        A job whose future is cancelled while it waits leaves the queue at once.

        Raises:
            Rejected: too many jobs of this device wait already.
            Unreachable: the queue is closed.
        """
        job = _Job(run, deadline_s, Future())
        job.result.add_done_callback(lambda result: self._forget(device, result) if result.cancelled() else None)
        with self._changed:
            self.admit(device)
            self._waiting.setdefault(device, deque()).append(job)
            self._changed.notify()
        return job.result

    def admit(self, device: str) -> None:
        """Whether `submit` would take a job of this device now, before anything is spent on it.

        Raises:
            As `submit`.
        """
        with self._changed:
            waiting = len(self._waiting.get(device, ()))
            if self._closed:
                raise Unreachable("the cloud is shutting down")
            if waiting >= self._limit:
                raise Rejected(f"{waiting} requests of this device wait already: send fewer at a time")

    @property
    def expected_wait_s(self) -> float:
        """What a job that came now would wait, from the average job time."""
        with self._changed:
            ahead = self._running + sum(map(len, self._waiting.values()))
            return ahead * self._job_s

    def close(self) -> None:
        """Fail what waits and stop after the running job."""
        with self._changed:
            self._closed = True
            dropped = [job for jobs in self._waiting.values() for job in jobs]
            self._waiting.clear()
            self._changed.notify()
        for job in dropped:
            if job.result.set_running_or_notify_cancel():
                job.result.set_exception(Unreachable("the cloud is shutting down"))
        self._thread.join()

    def _forget(self, device: str, result: Future[Result]) -> None:
        """Take a cancelled job out with all that it holds: who sends and hangs up must not fill the memory."""
        with self._changed:
            left = deque(job for job in self._waiting.get(device, ()) if job.result is not result)
            if left:
                self._waiting[device] = left
            else:
                self._waiting.pop(device, None)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if not job.result.set_running_or_notify_cancel():
                continue
            began_s = time.perf_counter()
            if began_s > job.deadline_s:
                job.result.set_exception(DeadlineExceeded("the deadline passed while the request waited"))
                continue
            try:
                result = job.run()
            except Exception as error:  # whoever waits for the result decides what it means
                job.result.set_exception(error)
                continue
            self._count(time.perf_counter() - began_s)
            job.result.set_result(result)

    def _count(self, job_s: float) -> None:
        with self._changed:
            self._running = 0
            self._job_s = job_s if self._job_s == 0 else self._job_s + _WEIGHT * (job_s - self._job_s)

    def _next(self) -> _Job[Result] | None:
        with self._changed:
            self._running = 0
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            device, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[device] = jobs  # to the end of the line
            self._running = 1
            return job
