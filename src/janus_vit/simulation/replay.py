"""Runs a cloud's scheduler in virtual time: arrivals in, outcomes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from janus_vit.errors import Rejected
from janus_vit.scheduling.job import Batch, Job

Engine = Callable[[Batch], float]  # seconds that a batch takes


class BatchPolicy(Protocol):
    """Decides which jobs run next. `scheduling.scheduler.Scheduler` is one."""

    wake_s: float | None

    def add(self, job: Job, now_s: float) -> tuple[Job, ...]:
        """Add a job; return the jobs that it evicts. Raises Rejected."""

    def next_batch(self, now_s: float) -> Batch | None:
        """Return the batch to run now; None: wait for an arrival or until `wake_s`."""

    def finish(self, batch: Batch, now_s: float, failed: Collection[int] = ()) -> tuple[Job, ...]:
        """End a batch; return the jobs that are complete."""

    def expire(self, now_s: float) -> tuple[Job, ...]:
        """Drop jobs that can no longer be in time."""


class End(Enum):
    """How a job ended."""

    IN_TIME = "in time"
    LATE = "late"
    REFUSED = "refused"
    EVICTED = "evicted"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How and when a job ended."""

    job: Job
    end: End
    ended_s: float

    @property
    def latency_s(self) -> float:
        """Time from arrival to the end."""
        return self.ended_s - self.job.arrived_s


@dataclass(frozen=True, slots=True)
class Replay:
    """Result of a replay.

    Attributes:
        outcomes: one outcome for each job, in the order in which the jobs ended.
        batches: all batches that ran, with their seconds.
    """

    outcomes: tuple[JobOutcome, ...]
    batches: tuple[tuple[Batch, float], ...]

    def share(self, *ends: End) -> float:
        """Share of all jobs that ended in one of these ways."""
        return sum(outcome.end in ends for outcome in self.outcomes) / max(1, len(self.outcomes))

    @property
    def busy_s(self) -> float:
        """Time in which the engine ran."""
        return sum(seconds for _, seconds in self.batches)

    @property
    def mean_frames(self) -> float:
        """Mean number of frames in a batch, weighted by the time of the batch."""
        return sum(len(batch.jobs) * seconds for batch, seconds in self.batches) / max(1e-9, self.busy_s)


def replay(policy: BatchPolicy, jobs: Iterable[Job], engine: Engine) -> Replay:
    """Run jobs, sorted by arrival, until all have ended.

    Args:
        policy: decides what runs; must be a fresh one.
        jobs: the jobs, which arrive at their `arrived_s`.
        engine: returns the seconds that a batch takes.
    """
    arrivals = deque(jobs)
    outcomes: list[JobOutcome] = []
    batches: list[tuple[Batch, float]] = []
    running: Batch | None = None
    now_s = free_s = 0.0
    while True:
        if running is not None and free_s <= now_s:
            outcomes += [_completed(job, now_s) for job in policy.finish(running, now_s)]
            running = None
        while arrivals and arrivals[0].arrived_s <= now_s:
            outcomes += _arrive(policy, arrivals.popleft(), now_s)
        if running is None:
            outcomes += [JobOutcome(job, End.EXPIRED, now_s) for job in policy.expire(now_s)]
            running = policy.next_batch(now_s)
            if running is not None:
                batches.append((running, engine(running)))
                free_s = now_s + batches[-1][1]
        times = [arrivals[0].arrived_s] if arrivals else []
        if running is not None:
            times.append(free_s)
        elif policy.wake_s is not None:
            times.append(max(now_s, policy.wake_s))
        if not times:
            outcomes += [JobOutcome(job, End.EXPIRED, now_s) for job in policy.expire(now_s)]
            return Replay(tuple(outcomes), tuple(batches))
        now_s = min(times)


def _completed(job: Job, now_s: float) -> JobOutcome:
    return JobOutcome(job, End.LATE if now_s > job.deadline_s else End.IN_TIME, now_s)


def _arrive(policy: BatchPolicy, job: Job, now_s: float) -> list[JobOutcome]:
    try:
        evicted = policy.add(job, now_s)
    except Rejected:
        return [JobOutcome(job, End.REFUSED, now_s)]
    return [JobOutcome(each, End.EVICTED, now_s) for each in evicted]
