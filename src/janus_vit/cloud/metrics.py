"""Prometheus metrics of a cloud. Knows no engine, queue or network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from janus_vit.errors import DeadlineExceeded, JanusError, Rejected, Unreachable, WireError
from janus_vit.scheduling.job import Batch
from janus_vit.scheduling.scheduler import Load

ANSWERED, CANCELLED = "answered", "cancelled"
_LISTED_DEVICES, _OTHERS = 256, "(others)"  # each label costs memory, and a client can send any number of names
_FRAMES = (1, 2, 4, 8, 16, 32, 64, 128)
_TOKENS = (64, 256, 1_024, 4_096, 16_384, 65_536)
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_OUTCOMES: tuple[tuple[type[JanusError], str], ...] = (
    (WireError, "invalid"),
    (DeadlineExceeded, "late"),
    (Rejected, "refused"),
    (Unreachable, "closing"),
)


def outcome_of(error: JanusError | None) -> str:
    """Label for the end of a request: answered, refused, late, invalid, closing or failed."""
    if error is None:
        return ANSWERED
    return next((label for kind, label in _OUTCOMES if isinstance(error, kind)), "failed")


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """How one request ended.

    Attributes:
        device: name that the device sent.
        outcome: result of `outcome_of`, or `CANCELLED`.
        size_bytes: size of its payload.
        entry_block: block at which it entered; None if it was refused before that was known.
        queue_s: time from decoding to the answer, without compute.
        compute_s: time in batches.
    """

    device: str
    outcome: str
    size_bytes: int
    entry_block: int | None = None
    queue_s: float = 0.0
    compute_s: float = 0.0


class CloudMetrics:
    """Counters of one cloud. They have their own registry, so that one process can run several clouds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("janus_requests", "Requests by how they ended.", ["outcome"], registry=self.registry)
        self._devices = Counter(
            "janus_device_requests", "Requests by device and how they ended.", ["device", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._entries = Counter(
            "janus_entry_blocks", "Requests by the block at which they enter.", ["block"], registry=self.registry
        )
        self._payloads = Counter("janus_payload_bytes", "Bytes of payloads received.", registry=self.registry)
        self._batch_frames = Histogram(
            "janus_batch_frames", "Frames in a batch.", buckets=_FRAMES, registry=self.registry
        )
        self._batch_tokens = Histogram(
            "janus_batch_tokens", "Tokens in a batch, at its first block.", buckets=_TOKENS, registry=self.registry
        )
        self._segments = Counter(
            "janus_batches", "Batches by the blocks that they ran.", ["start", "stop"], registry=self.registry
        )
        self._busy_s = Counter(
            "janus_engine_busy_seconds", "Time in which the engine ran a batch; its rate is the busy share.",
            registry=self.registry,
        )  # fmt: skip
        self._queue_s = Histogram(
            "janus_queue_seconds", "Time from decoding to the answer without compute.", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._compute_s = Histogram(
            "janus_compute_seconds", "Time in batches of one answered request.", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._expected_wait_s = Gauge(
            "janus_expected_wait_seconds", "What a request that came now would wait.", registry=self.registry
        )
        self._waiting = Gauge("janus_waiting_requests", "Requests that wait or run.", registry=self.registry)
        self._ready = Gauge("janus_ready", "1 while requests are accepted.", registry=self.registry)
        self._listed: set[str] = set()
        self._children: dict[tuple[Counter, tuple[object, ...]], Counter] = {}
        self._lock = threading.Lock()

    def ready_while(self, accepts: Callable[[], bool]) -> None:
        """Report what this tells: whether requests are accepted."""
        self._ready.set_function(lambda: float(accepts()))

    def request_ended(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        self._child(self._requests, record.outcome).inc()
        self._child(self._devices, self._label(record.device), record.outcome).inc()
        if record.entry_block is not None:
            self._child(self._entries, record.entry_block).inc()
        self._payloads.inc(record.size_bytes)
        if record.outcome == ANSWERED:
            self._queue_s.observe(record.queue_s)
            self._compute_s.observe(record.compute_s)

    def batch_ran(self, batch: Batch, elapsed_s: float, load: Load) -> None:
        """Count a batch, and set the load after it."""
        self._batch_frames.observe(len(batch.jobs))
        self._batch_tokens.observe(sum(job.tokens_at(batch.start) for job in batch.jobs))
        self._segments.labels(batch.start, batch.stop).inc()
        self._busy_s.inc(elapsed_s)
        self._expected_wait_s.set(load.expected_wait_s)
        self._waiting.set(load.waiting)

    def _child(self, counter: Counter, *labels: object) -> Counter:
        """A counter's child; found in one look-up, since every request needs three."""
        key = (counter, labels)
        if key not in self._children:
            self._children[key] = counter.labels(*labels)
        return self._children[key]

    def _label(self, device: str) -> str:
        """The device's own label, or the shared label once there are too many."""
        with self._lock:
            if device not in self._listed and len(self._listed) >= _LISTED_DEVICES:
                return _OTHERS
            self._listed.add(device)
            return device
