"""The steps of a request in the cloud: check, admit, decode, compute, reply. A plain object that knows no gRPC."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count

from janus_vit.cloud.backend import Backend, Finished
from janus_vit.cloud.ingest import Ingest
from janus_vit.cloud.metrics import CANCELLED, RequestRecord, outcome_of
from janus_vit.cloud.watching.call import Call
from janus_vit.errors import JanusError, Unreachable
from janus_vit.planning.price import CloudLoad
from janus_vit.scheduling.job import Job
from janus_vit.tracing.request_spans import RequestTrace
from janus_vit.wire.messages import Greeting, Reply, Request
from janus_vit.wire.stream_report import StreamReport

OnReply = Callable[[Reply | JanusError], None]


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that waits or runs; call `cancel` when its device disconnects."""

    cancel: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Times:
    """When a request arrived and was decoded, for its reply."""

    receive_s: float
    arrived_s: float
    decoded_s: float


class CloudService:
    """Answers the requests of many devices with one model.

    Args:
        greeting: the reply to Hello.
        ingest: checks and decodes requests.
        backend: computes requests.
        on_ended: called for every request when it has ended.
        on_report: called for every report of a stream.
        on_trace: called for every traced request when its call has ended.
    """

    def __init__(
        self,
        greeting: Greeting,
        ingest: Ingest,
        backend: Backend,
        on_ended: Callable[[RequestRecord], None] = lambda record: None,
        on_report: Callable[[StreamReport], None] = lambda report: None,
        on_trace: Callable[[RequestTrace], None] = lambda traced: None,
    ) -> None:
        self._greeting = greeting
        self._ingest = ingest
        self._backend = backend
        self._on_ended = on_ended
        self._on_report = on_report
        self._on_trace = on_trace
        self._ids = count()
        self._draining = False

    @property
    def largest_body_bytes(self) -> int:
        """Bodies above this cannot be valid."""
        return self._ingest.largest_body_bytes

    @property
    def failure(self) -> str | None:
        """See `Backend.failure`."""
        return self._backend.failure

    def decodes_quickly(self, request: Request) -> bool:
        """Whether decoding is short enough for the thread that serves all connections."""
        return self._ingest.decodes_quickly(request)

    def greeting(self) -> Greeting:
        """Describe this cloud to a device that connects."""
        return self._greeting

    def load(self) -> CloudLoad:
        """What a request that came now would find, for devices that probe the link."""
        return self._backend.load().told

    def reported(self, report: StreamReport) -> None:
        """Pass on how a device's stream goes."""
        self._on_report(report)

    def traced(self, trace: RequestTrace) -> None:
        """Pass on what happened to a traced request."""
        self._on_trace(trace)

    def begin(
        self, request: Request, receive_s: float, on_reply: OnReply, left_s: float = math.inf, call: Call | None = None
    ) -> Pending:
        """Start to answer a request. Stops decoding when the deadline passes or the call ends.

        Args:
            request: the parsed request; its fields are not checked yet.
            receive_s: how long the request took to arrive. Its time left is counted from the start of sending.
            on_reply: called once, from any thread, with the reply or the error, unless the request is cancelled.
            left_s: time until the call itself ends, if that is sooner.
            call: the call; default: one that arrives now.

        Raises:
            WireError: a field of the request is invalid.
            ModelMismatch: the request is for another model.
            Rejected: the request cannot be in time, or its device has too many requests waiting.
            DeadlineExceeded: the deadline passed while the request was decoded.
            Unreachable: the cloud is shutting down, or the device disconnected.
        """
        call = call or Call()
        began_s, arrived_s = time.thread_time(), call.arrived_s
        device = call.device = call.shown(request.device)
        job: Job | None = None
        try:
            if self._draining:
                raise Unreachable("the cloud is shutting down")
            payload = self._ingest.check(request)
            sent_s, ends_s = arrived_s - receive_s, arrived_s + left_s
            client = call.client(request.device)
            job = self._ingest.job(next(self._ids), client, request, sent_s, arrived_s, ends_s)
            self._backend.check(job)
            abandoned_s = job.abandoned_s
            start = self._ingest.decode(request, payload, lambda: call.check(abandoned_s))
            decoded_s = call.decoded_s = time.perf_counter()
            times = _Times(receive_s, arrived_s, decoded_s)
            self._backend.submit(job, start, lambda result: on_reply(self._ended(call, request, result, times)))
        except JanusError as error:
            entry = None if job is None else job.entry
            self._on_ended(RequestRecord(device, outcome_of(error), len(request.body), entry))
            raise
        finally:
            call.decode_s = time.thread_time() - began_s
        return Pending(lambda: self._cancel(device, request, job.id))

    def handle(self, request: Request, receive_s: float) -> Reply:
        """Answer a request and wait for it; see `begin`."""
        answered: Future[Reply] = Future()

        def settle(reply: Reply | JanusError) -> None:
            if isinstance(reply, JanusError):
                answered.set_exception(reply)
            else:
                answered.set_result(reply)

        self.begin(request, receive_s, settle)
        return answered.result()

    def drain(self) -> None:
        """Refuse new requests; admitted ones are still answered."""
        self._draining = True

    def close(self) -> None:
        """Stop the backend; waiting requests fail with Unreachable."""
        self.drain()
        self._backend.close()

    def _cancel(self, device: str, request: Request, job_id: int) -> None:
        self._backend.cancel(job_id)
        self._on_ended(RequestRecord(device, CANCELLED, len(request.body), request.split))

    def _ended(self, call: Call, request: Request, result: Finished, times: _Times) -> Reply | JanusError:
        """Count a request that has ended, and return its reply or error."""
        call.finished_s, call.batches = time.perf_counter(), result.batches
        queue_s = max(0.0, call.finished_s - times.decoded_s - result.compute_s)
        outcome = outcome_of(result.error)
        self._on_ended(
            RequestRecord(call.device, outcome, len(request.body), request.split, queue_s, compute_s=result.compute_s)
        )
        if result.answer is None:
            assert result.error is not None, "a job without an answer has an error"
            return result.error
        return Reply(
            result.answer,
            receive_s=times.receive_s,
            decode_s=times.decoded_s - times.arrived_s,
            queue_s=queue_s,
            compute_s=result.compute_s,
            expected_queue_s=result.load.expected_wait_s,
            price=result.load.price,
            number=request.number,
        )
