"""The protocol between the two halves of a cloud: the network half submits checked requests, the engine half computes.

`EngineLoop` is the backend in the same process; `RemoteBackend` passes frames to the process that owns the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor

from janus_vit.errors import JanusError
from janus_vit.model.stage import Activation
from janus_vit.planning.outcome import Answer
from janus_vit.scheduling.job import BatchRun, Job
from janus_vit.scheduling.scheduler import Load


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded input that has not run through the stem yet.

    Attributes:
        pixels: uint8 [H, W, 3] or [T, H, W, 3] still to be normalised, or the float32 input [3, ...].
        merges: tokens to merge in each block.
    """

    pixels: Tensor
    merges: tuple[int, ...]


Start: TypeAlias = Frame | Activation


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a job.

    Attributes:
        answer: the answer; None if the job failed.
        error: why the job failed; None if it did not.
        compute_s: time in which the engine ran batches with this job.
        load: load of the cloud when the job ended.
        batches: in which it ran.
    """

    answer: Answer | None
    error: JanusError | None
    compute_s: float
    load: Load
    batches: tuple[BatchRun, ...] = ()


OnFinished = Callable[[Finished], None]


class Backend(Protocol):
    """Computes jobs in batches. Every method may be called from any thread.

    Attributes:
        failure: why it computes nothing any more although nobody has closed it; None if it does, or if another process
            knows.
    """

    failure: str | None

    def check(self, job: Job) -> None:
        """Check whether `submit` would accept a job now, so that a refused one is not decoded.

        Raises:
            Rejected: the job cannot be in time, or its device has too many requests waiting.
            Unreachable: the cloud is shutting down.
        """

    def submit(self, job: Job, start: Start, on_finished: OnFinished) -> None:
        """Queue a job; `on_finished` is called exactly once, unless `cancel` comes first.

        Raises:
            Rejected, Unreachable: see `check`.
        """

    def cancel(self, job_id: int) -> None:
        """Drop a job whose device no longer wants the answer."""

    def load(self) -> Load:
        """What a job that came now would find, as far as this process knows."""

    def close(self) -> None:
        """Stop after the running batch; waiting jobs fail with Unreachable."""
