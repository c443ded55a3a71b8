"""Every limit of a cloud in one place, checked when it is set."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from janus_vit.errors import InputError

_COUNTS = (
    "max_batch_frames",
    "max_batch_tokens",
    "waiting_per_client",
    "waiting_total",
    "slots_per_process",
    "calls_at_once",
    "calls_per_client",
    "connections_at_once",
    "connections_per_client",
)
_SECONDS = ("least_segment_s", "drain_s", "safety_s", "longest_wait_s")


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """Limits of one cloud.

    Attributes:
        max_batch_frames: frames in one batch.
        max_batch_tokens: tokens in one batch, over all of its frames. A single frame with more still runs, alone.
        waiting_per_client: requests of one client that may wait or run at once.
        waiting_total: requests of all clients that may wait or run at once.
        least_segment_s: time from which on a batch stops at an entry block where nobody waits yet; a stop takes a tenth
            of a millisecond itself.
        entry_blocks: blocks at which a batch stops so that waiting frames can join; None: each third of the depth.
        ingest_processes: processes that receive and decode requests; 0 does it in the engine's process.
        slots_per_process: frames in shared memory, between arrival and answer, for each of these processes.
        metrics_port: TCP port of the Prometheus page, 0 picks a free one; None serves no page.
        calls_at_once: open gRPC calls, for each process that serves them.
        calls_per_client: the part of them that one client may open; one connection carries half as many.
        calls_per_s_per_client: calls that one client may begin in a second; those of a second can be saved up. A call
            that takes long to decode, or that no device sends, counts as several.
        connections_at_once: open connections, for each process that serves them; fewer if memory is short.
        connections_per_client: the part of them that one client may open.
        memory_bytes: memory for connections, messages and decoded frames; None: a quarter of this machine's.
        drain_s: time in which a server that shuts down still answers admitted requests.
        safety_s: time before its deadline at which an answer has to be ready.
        traces_per_s: traces of devices that are continued in a second, by each process that serves calls.
        longest_wait_s: age at which a request is served as if its deadline were then, however late its deadline is.

    Raises:
        InputError: a value is out of range.
    """

    max_batch_frames: int = 32
    max_batch_tokens: int = 32_768
    waiting_per_client: int = 4
    waiting_total: int = 512
    least_segment_s: float = 2e-3
    entry_blocks: tuple[int, ...] | None = None
    ingest_processes: int = 0
    slots_per_process: int = 64
    metrics_port: int | None = None
    calls_at_once: int = 1_024
    calls_per_client: int = 16
    calls_per_s_per_client: float = 250.0
    connections_at_once: int = 1_024
    connections_per_client: int = 8
    memory_bytes: int | None = None
    drain_s: float = 5.0
    safety_s: float = 1e-3
    longest_wait_s: float = 10.0
    traces_per_s: float = 20.0

    def __post_init__(self) -> None:
        for name in _COUNTS:
            _require(name, getattr(self, name), 1)
        _require("ingest_processes", self.ingest_processes, 0)
        if self.metrics_port is not None:
            _require("metrics_port", self.metrics_port, 0, 65_535)
        if self.memory_bytes is not None:
            _require("memory_bytes", self.memory_bytes, 1)
        if not 1 <= self.calls_per_s_per_client < math.inf:
            raise InputError(f"calls_per_s_per_client is {self.calls_per_s_per_client!r} and must be at least 1")
        if not 0 <= self.traces_per_s < math.inf:
            raise InputError(f"traces_per_s is {self.traces_per_s!r} and must be a finite number of at least 0")
        for name in _SECONDS:
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise InputError(f"{name} is {value!r} and must be a finite number of seconds, at least 0")
        blocks = self.entry_blocks
        if blocks is not None and (not blocks or blocks[0] < 0 or list(blocks) != sorted(set(blocks))):
            raise InputError(f"entry_blocks is {list(blocks)} and must list blocks from 0 on, each once, in order")

    def entries(self, blocks: int) -> tuple[int, ...]:
        """Blocks at which a batch stops, in a model with so many: always with 0 and the depth itself.

        Raises:
            InputError: `entry_blocks` lists a block that the model does not have.
        """
        listed = self.entry_blocks
        if listed is None:
            listed = (round(blocks / 3), round(2 * blocks / 3))
        elif listed[-1] > blocks:
            raise InputError(f"entry_blocks lists block {listed[-1]}, and the model has {blocks} blocks: leave it out")
        return tuple(sorted({0, *listed, blocks}))

    def announced(self, blocks: int) -> tuple[int, ...]:
        """Entry blocks that devices keep to; empty where batches do not pay and frames may enter at every block."""
        return self.entries(blocks) if self.max_batch_frames > 1 else ()

    def one_by_one(self) -> CloudConfig:
        """The same limits for an engine that runs no batches: a frame runs from its entry to the end."""
        return replace(self, max_batch_frames=1, entry_blocks=(0,))


def _require(name: str, value: object, low: int, high: int | None = None) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):  # type: ignore[operator]
        limit = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name} is {value!r} and must be a whole number, {limit}")
