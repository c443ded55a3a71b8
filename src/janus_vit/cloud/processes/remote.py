"""A backend in another process: frames cross in shared memory, everything else in small messages over a pipe.

`RemoteBackend` runs in an ingest process, `RemoteSession` in the engine's process. When an ingest process dies, its
pipe closes, and its session cancels the jobs of that process only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection

from torch import Tensor

from janus_vit.cloud.backend import Backend, Finished, OnFinished, Start
from janus_vit.cloud.processes.pipe import (
    AskLoad,
    Cancel,
    Drain,
    JobEnded,
    LoadReport,
    Message,
    Pipe,
    Record,
    Submit,
)
from janus_vit.cloud.processes.shared_frames import SharedFrames, read_frame
from janus_vit.errors import JanusError, Overloaded, Rejected, Unreachable, described
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Load

_LOG = logging.getLogger("janus_vit.cloud")
_SESSION_IDS = 1 << 40  # number of job ids reserved for each session
_ASK_EVERY_S = 0.05  # devices need no news of the load more often


class RemoteBackend:
    """Sends jobs to the process that owns the engine.

    Args:
        pipe: pipe to that process.
        memory: slots from which that process reads frames.
        load: load of the cloud at the start.
        on_drain: called when that process accepts no more requests.
        on_disconnect: called when that process has ended.
    """

    def __init__(
        self, pipe: Pipe, memory: Tensor, load: Load, on_drain: Callable[[], None], on_disconnect: Callable[[], None]
    ) -> None:
        self.failure: str | None = None  # that process ends if it has one
        self._pipe = pipe
        self._frames = SharedFrames(memory)
        self._load = load
        self._ask_again_s = 0.0
        self._on_drain = on_drain
        self._on_disconnect = on_disconnect
        self._waiting: dict[int, tuple[int, OnFinished | None]] = {}  # slot and callback; no callback once cancelled
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, name="janus-replies", daemon=True)
        self._thread.start()

    def check(self, job: Job) -> None:
        """See `Backend.check`. Uses the load reported with the last answer; the scheduler decides after `submit`."""
        compute_s = self._load.price.of_frame(job.entry, job.tokens)
        last_s = job.deadline_s if self._load.waiting else max(job.deadline_s, job.abandoned_s)
        if time.perf_counter() + compute_s > last_s:
            raise Overloaded(
                f"the request cannot be in time: computing takes {1e3 * compute_s:.0f} ms, "
                f"the expected wait is {1e3 * self._load.expected_wait_s:.0f} ms",
                self._load.expected_wait_s,
                self._load.price,
            )

    def submit(self, job: Job, start: Start, on_finished: OnFinished) -> None:
        """See `Backend.submit`. If the scheduler refuses the job, `on_finished` gets the error."""
        ref = self._frames.write(start)
        with self._lock:
            self._waiting[job.id] = (ref.slot, on_finished)
        self._pipe.send(Submit(job, ref))

    def cancel(self, job_id: int) -> None:
        """See `Backend.cancel`. The slot is free again when the other process confirms."""
        with self._lock:
            known = self._waiting.get(job_id)
            if known is not None:
                self._waiting[job_id] = (known[0], None)
        self._pipe.send(Cancel(job_id))

    def load(self) -> Load:
        """See `Backend.load`: the last report. Asks for another one, so that it is not old when nothing is computed."""
        now_s = time.perf_counter()
        if now_s >= self._ask_again_s:
            self._ask_again_s = now_s + _ASK_EVERY_S
            self._pipe.send(AskLoad())
        return self._load

    def close(self) -> None:
        """See `Backend.close`."""
        self._pipe.end()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _listen(self) -> None:
        try:
            self._take_messages()
        finally:  # a process that hears of no results serves nobody
            self._pipe.close()
            self._on_disconnect()

    def _take_messages(self) -> None:
        while (message := self._pipe.receive()) is not None:
            if isinstance(message, JobEnded):
                self._load = message.finished.load
                self._settle(message)
            elif isinstance(message, LoadReport):
                self._load = message.load
            elif isinstance(message, Drain):
                self._on_drain()

    def _settle(self, message: JobEnded) -> None:
        with self._lock:
            slot, on_finished = self._waiting.pop(message.job_id)
        self._frames.free(slot)
        if on_finished is not None:
            on_finished(message.finished)


class RemoteSession:
    """Connects one ingest process to a backend of this process, until the pipe closes.

    Args:
        index: number of the ingest process; keeps the jobs of different processes apart.
        connection: pipe to the ingest process.
        memory: slots to which the ingest process writes frames.
        backend: computes the jobs.
        load: returns the load to report with jobs that are refused or cancelled.
        on_record: called for every request when it has ended, every report of a stream and every traced request.
    """

    def __init__(
        self,
        index: int,
        connection: Connection,
        memory: Tensor,
        backend: Backend,
        load: Callable[[], Load],
        on_record: Callable[[Record], None],
    ) -> None:
        self._first_id = index * _SESSION_IDS
        self._pipe = Pipe(connection)
        self._memory = memory
        self._backend = backend
        self._load = load
        self._on_record = on_record
        self._running: set[int] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name=f"janus-ingest-{index}", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Tell the process to refuse new requests."""
        self._pipe.send(Drain())

    def join(self) -> None:
        """Wait until the process has ended."""
        self._thread.join()

    def _serve(self) -> None:
        try:
            while (message := self._pipe.receive()) is not None:
                self._handle(message)
        finally:  # the process ends with its pipe, and is replaced
            self._abandon()

    def _abandon(self) -> None:
        self._pipe.close()
        with self._lock:
            abandoned = list(self._running)
            self._running.clear()
        for job_id in abandoned:
            self._backend.cancel(self._first_id + job_id)

    def _handle(self, message: Message) -> None:
        try:
            if isinstance(message, Submit):
                self._submit(message)
            elif isinstance(message, Cancel):
                self._cancel(message.job_id)
            elif isinstance(message, AskLoad):
                self._pipe.send(LoadReport(self._load()))
            elif isinstance(message, Record):
                self._on_record(message)
        except Exception as error:  # the next messages may be those of other devices
            _LOG.error("a message of an ingest process failed: %s", described(error))

    def _submit(self, message: Submit) -> None:
        job_id = message.job.id
        with self._lock:
            self._running.add(job_id)
        job = replace(message.job, id=self._first_id + job_id)
        try:
            self._backend.submit(
                job, read_frame(self._memory, message.ref), lambda finished: self._report(job_id, finished)
            )
        except JanusError as error:
            self._report(job_id, Finished(None, error, 0.0, self._load()))
        except Exception as error:  # for example, the engine's device has no memory for the frame
            _LOG.error("a request could not be queued: %s", described(error))
            refusal = Rejected("the engine failed on this request; the cloud's log says why")
            self._report(job_id, Finished(None, refusal, 0.0, self._load()))

    def _cancel(self, job_id: int) -> None:
        self._backend.cancel(self._first_id + job_id)
        self._report(job_id, Finished(None, Unreachable("the device disconnected"), 0.0, self._load()))

    def _report(self, job_id: int, finished: Finished) -> None:
        """Report the end of a job to the process, once: either its result or its cancellation, whichever is first."""
        with self._lock:
            if job_id not in self._running:
                return
            self._running.discard(job_id)
        self._pipe.send(JobEnded(job_id, finished))
