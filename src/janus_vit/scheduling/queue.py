"""Admitted jobs in order of their deadlines, with what every decision needs in parallel lists.

Jobs are judged in groups by deadline, each as large as a batch may be. A job is safe if its own rest can follow the
groups before its own, and these run in full batches.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

from janus_vit.scheduling.estimate import BatchCosts, Correction
from janus_vit.scheduling.job import Job

_MERGING_LOSS = 0.2  # by which groups take longer than in full batches, when a new job is judged: batches are not full

_LONGEST_WAIT_TOLD_S = 10.0


class Waiting:
    """An admitted job and where it stands.

    Attributes:
        job: what the client asked for.
        limit_s: time by which its answer has to be ready.
        due_s: the same, or earlier where it waits long, later for greedy clients; jobs are served in this order.
        position: next block; the one after the running batch while `running`.
        route: predicted seconds of what is left.
        running: whether it is part of the running batch.
        queued: whether it is in the queue.
    """

    __slots__ = ("due_s", "job", "limit_s", "position", "queued", "route", "running")

    def __init__(self, job: Job, limit_s: float, due_s: float, costs: BatchCosts) -> None:
        self.job = job
        self.limit_s = limit_s
        self.due_s = due_s
        self.position = job.entry
        self.route = costs.route(job.tokens)
        self.running = False
        self.queued = False

    @property
    def yields(self) -> bool:
        """Whether its client is greedy, so that it makes way for others."""
        return self.due_s > self.limit_s

    @property
    def missed_s(self) -> float:
        """Time from which on it counts as missed: its limit, but for a greedy client only when its turn has come."""
        return self.due_s if self.yields else self.limit_s

    def rest_s(self, position: int, fullness: float) -> float:
        """Uncorrected seconds from a block on, in a batch between one frame (0) and the largest (1)."""
        offset = position - self.job.entry
        return self.route.alone_s[offset] + fullness * self.route.extra_s[offset]

    def share_s(self, position: int) -> float:
        """Uncorrected seconds of the engine from a block on, in full batches."""
        return self.route.share_s[position - self.job.entry]


class DeadlineQueue:
    """Jobs by deadline.

    Args:
        costs: predict seconds.
        correction: of the predictions.

    Attributes:
        jobs: those that wait, and those that go on after the running batch; earliest deadline first.
        positions: their next blocks.
        standing: number of jobs at each block where any stand.
    """

    def __init__(self, costs: BatchCosts, correction: Correction) -> None:
        self._group = costs.max_frames
        self._loss = 1 + _MERGING_LOSS * (1 - 1 / self._group)
        self._costs = costs
        self._correction = correction
        self._keys: list[tuple[float, int]] = []  # time at which it is due, id
        self._alone_s: list[float] = []
        self._extra_s: list[float] = []
        self._share_s: list[float] = []
        self.positions: list[int] = []
        self.standing: Counter[int] = Counter()
        self.jobs: list[Waiting] = []

    def insert(self, waiting: Waiting) -> None:
        """Add a job."""
        waiting.queued = True
        key, route, offset = (waiting.due_s, waiting.job.id), waiting.route, waiting.position - waiting.job.entry
        index = bisect_left(self._keys, key)
        self._keys.insert(index, key)
        self._alone_s.insert(index, route.alone_s[offset])
        self._extra_s.insert(index, route.extra_s[offset])
        self._share_s.insert(index, route.share_s[offset])
        self.positions.insert(index, waiting.position)
        self._count(waiting.position, 1)
        self.jobs.insert(index, waiting)

    def remove(self, waiting: Waiting) -> None:
        """Take a job out."""
        waiting.queued = False
        index = self._index(waiting)
        del self._keys[index], self._alone_s[index], self._extra_s[index], self._share_s[index]
        del self.positions[index], self.jobs[index]
        self._count(waiting.position, -1)

    def advance(self, members: Sequence[Waiting], position: int) -> None:
        """Let jobs that stand at one block, earliest deadline first, stand at another one."""
        self._count(members[0].position, -len(members))
        self._count(position, len(members))
        index = 0
        for waiting in members:
            waiting.position = position
            index = bisect_left(self._keys, (waiting.due_s, waiting.job.id), index)
            route, offset = waiting.route, position - waiting.job.entry
            self._alone_s[index] = route.alone_s[offset]
            self._extra_s[index] = route.extra_s[offset]
            self._share_s[index] = route.share_s[offset]
            self.positions[index] = position

    def wait_s(self, now_s: float, free_s: float) -> float:
        """What a job that came now would wait: until the engine is free, and for all jobs in full batches."""
        backlog_s = self._correction.factor * sum(self._share_s)
        return min(_LONGEST_WAIT_TOLD_S, max(0.0, free_s - now_s) + backlog_s)

    def fits(self, waiting: Waiting, free_s: float) -> bool:
        """Whether a job of this queue can be in time without making a later deadline unsafe.

        In the first group it is enough that the job alone is in time: if earlier deadlines force small batches, it is
        they that are given up.

        Args:
            waiting: the job.
            free_s: time at which the engine is free.
        """
        factor, index = self._correction.factor, self._index(waiting)
        latest_s = min(waiting.due_s, waiting.limit_s) - factor * self._alone_s[index]
        if free_s > latest_s:
            return False
        idle = [each.running for each in self.jobs].count(False)
        start_s, extra = free_s, factor * self._costs.fullness(idle)
        for first in range(0, len(self.jobs), self._group):
            after = first + self._group
            if 0 < first <= index < after and start_s > latest_s - extra * self._extra_s[index]:
                return False
            if first and after > index:
                judged = slice(max(first, index), after)
                all_latest_s = (
                    key[0] - factor * alone_s - extra * extra_s
                    for key, alone_s, extra_s in zip(
                        self._keys[judged], self._alone_s[judged], self._extra_s[judged], strict=True
                    )
                )
                if min(all_latest_s) < start_s:
                    return False
            start_s += self._loss * factor * sum(self._share_s[first:after])
        return True

    def endangered(self, free_s: float, fullness: float, done_s: Mapping[int, float]) -> int:
        """How many jobs are not safe, of those that a batch leaves out.

        Args:
            free_s: time at which the batch ends.
            fullness: of the batches in which the others run then: 0 alone, 1 the largest.
            done_s: uncorrected seconds in full batches that the batch works off for each of its jobs, by id.
        """
        factor, extra = self._correction.factor, self._correction.factor * fullness
        latest_s = [
            key[0] - factor * alone_s - extra * extra_s
            for key, alone_s, extra_s in zip(self._keys, self._alone_s, self._extra_s, strict=True)
        ]
        if not latest_s or min(latest_s) >= free_s + factor * sum(self._share_s):
            return 0
        found, start_s = 0, free_s
        for first in range(0, len(latest_s), self._group):
            group = slice(first, first + self._group)
            keys, latest = self._keys[group], latest_s[group]
            if min(latest) < start_s:
                found += sum(each < start_s and key[1] not in done_s for key, each in zip(keys, latest, strict=True))
            share_s = sum(self._share_s[group]) - sum([done_s[key[1]] for key in keys if key[1] in done_s])
            start_s += factor * share_s
        return found

    def _count(self, position: int, more: int) -> None:
        count = self.standing[position] + more
        if count:
            self.standing[position] = count
        else:
            del self.standing[position]

    def _index(self, waiting: Waiting) -> int:
        return bisect_left(self._keys, (waiting.due_s, waiting.job.id))
