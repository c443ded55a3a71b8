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
    """What decides which jobs run; `cloud.scheduler.Scheduler` is one."""

    wake_s: float | None

    def add(self, job: Job, now_s: float) -> tuple[Job, ...]:
        """Take a job; gives jobs that had to go for it. Raises Rejected."""

    def next_batch(self, now_s: float) -> Batch | None:
        """What the free engine runs now; None waits for an arrival or for `wake_s`."""

    def finish(self, batch: Batch, now_s: float, failed: Collection[int] = ()) -> tuple[Job, ...]:
        """End a batch; gives the jobs that are complete."""

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
    """One job's end."""

    job: Job
    end: End
    ended_s: float

    @property
    def latency_s(self) -> float:
        """Time from arrival to the end."""
        return self.ended_s - self.job.arrived_s


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of all jobs.

    Attributes:
        outcomes: one for each job, in the order in which they ended.
        batches: all that ran, with their seconds.
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
        """Frames in a batch on average over the engine's time."""
        return sum(len(batch.jobs) * seconds for batch, seconds in self.batches) / max(1e-9, self.busy_s)


def replay(policy: BatchPolicy, jobs: Iterable[Job], engine: Engine) -> Replay:
    """Run jobs, sorted by arrival, until all have ended.

    Args:
        policy: fresh.
        jobs: arrive at their `arrived_s`.
        engine: seconds of a batch.
    """
    arrivals = deque(jobs)
    outcomes: list[JobOutcome] = []
    batches: list[tuple[Batch, float]] = []
    running: Batch | None = None
    free_s = now_s = 0.0
    while True:
        times = [arrivals[0].arrived_s] if arrivals else []
        if running is not None:
            times.append(free_s)
        elif policy.wake_s is not None:
            times.append(max(now_s, policy.wake_s))
        if not times:
            return Replay(tuple(outcomes), tuple(batches))
        now_s = min(times)
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


def _completed(job: Job, now_s: float) -> JobOutcome:
    return JobOutcome(job, End.LATE if now_s > job.deadline_s else End.IN_TIME, now_s)


def _arrive(policy: BatchPolicy, job: Job, now_s: float) -> list[JobOutcome]:
    try:
        evicted = policy.add(job, now_s)
    except Rejected:
        return [JobOutcome(job, End.REFUSED, now_s)]
    return [JobOutcome(each, End.EVICTED, now_s) for each in evicted]
