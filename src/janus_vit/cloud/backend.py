"""Where checked requests go to be computed: the protocol between the network's side of a cloud and its engine's side.

`EngineLoop` is the backend in the same process, `RemoteBackend` hands frames to the process that owns the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor

from janus_vit.errors import JanusError
from janus_vit.model.stage import Activation
from janus_vit.planning.outcome import Answer
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Load


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded input that begins before the stem.

    Attributes:
        pixels: uint8 [H, W, 3] or [T, H, W, 3] still to be normalised, or the float32 input [3, ...].
        merges: tokens to merge in each block.
    """

    pixels: Tensor
    merges: tuple[int, ...]


Start: TypeAlias = Frame | Activation


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that is over.

    Attributes:
        answer: None if it failed.
        error: why it failed, None if it did not.
        compute_s: time in which the engine ran a batch that this job was part of.
        load: of the cloud at that moment.
    """

    answer: Answer | None
    error: JanusError | None
    compute_s: float
    load: Load


OnFinished = Callable[[Finished], None]


class Backend(Protocol):
    """Computes jobs in batches. Every method may be called from any thread."""

    def check(self, job: Job) -> None:
        """Ask whether `submit` would take a job now, before anything is spent on decoding it.

        Raises:
            Rejected: it cannot be in time, or its client has too many requests waiting.
            Unreachable: the cloud is shutting down.
        """

    def submit(self, job: Job, start: Start, on_finished: OnFinished) -> None:
        """Queue a job; `on_finished` is called exactly once, unless `cancel` comes first.

        Raises:
            As `check`.
        """

    def cancel(self, job_id: int) -> None:
        """Drop a job whose device no longer wants the answer."""

    def close(self) -> None:
        """Fail what waits with Unreachable and stop after the running batch."""
