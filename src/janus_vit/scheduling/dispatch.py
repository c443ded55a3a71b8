"""Which batch a free engine runs next. Knows the queue and predicted times, no clock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from janus_vit.scheduling.estimate import BatchCosts, Correction
from janus_vit.scheduling.queue import DeadlineQueue, Waiting

_PAUSES = 6  # in which a frame of a greedy client runs, where frames run one by one


@dataclass(frozen=True, slots=True)
class Step:
    """A batch and the jobs that are given up for it.

    Attributes:
        members: run from their common position.
        stop: block to stop before.
        until: block up to which the engine is taken: `stop`, or the depth if the members have no time to wait.
        given_up: are dropped.
    """

    members: Sequence[Waiting]
    stop: int
    until: int
    given_up: Sequence[Waiting] = ()

    @property
    def start(self) -> int:
        """The members' position."""
        return self.members[0].position


class Dispatcher:
    """Chooses the next step.

    The preferred step keeps batches large: a full batch as far ahead as possible, else the running wave, else a new
    wave from the rearmost jobs, which others join on its way. It runs unless it endangers a deadline. Then the jobs at
    the position of the earliest deadline compete with it: in a batch that is small enough to meet this deadline, and in
    a large one without the deadlines that it would miss. The step that costs fewest deadlines wins.

    Where frames run one by one, those of greedy clients run in parts, between which others go first.

    Args:
        queue: of admitted jobs.
        costs: predict seconds.
        correction: of the predictions.
        entries: blocks at which a batch stops, from 0 to the depth.
        max_tokens: in a batch.
        least_segment_s: time from which on a segment stops at an entry where nobody waits.
    """

    def __init__(
        self,
        queue: DeadlineQueue,
        costs: BatchCosts,
        correction: Correction,
        entries: tuple[int, ...],
        max_tokens: int,
        least_segment_s: float,
    ) -> None:
        self._queue = queue
        self._costs = costs
        self._correction = correction
        self._entries = entries
        self._depth = entries[-1]
        self._max_tokens = max_tokens
        self._least_segment_s = least_segment_s

    def choose(self, wave: int, now_s: float, arrivals_hz: float) -> Step:
        """The next step.

        Args:
            wave: block at which the last batch stopped.
            now_s: time at which the step begins; at least one job waits.
            arrivals_hz: rate at which jobs arrive.
        """
        best = self._preferred(wave, now_s)
        least = self._harm(best, now_s, arrivals_hz)
        if not any(least):
            return best
        for step in self._urgent(now_s):
            harm = self._harm(step, now_s, arrivals_hz)
            if (sum(harm), harm, -len(step.given_up)) < (sum(least), least, -len(best.given_up)):
                best, least = step, harm
        return best

    def seconds(self, members: Sequence[Waiting], start: int, stop: int) -> float:
        """Uncorrected seconds of jobs from one block up to another."""
        work = merges = 0.0
        for waiting in members:
            route, first = waiting.route, start - waiting.job.entry
            last = first + stop - start
            work += route.work[last] - route.work[first]
            merges += route.merges[last] - route.merges[first]
        return self._costs.segment_s(len(members), start, stop, work, merges)

    def _preferred(self, wave: int, now_s: float) -> Step:
        if self._jobs_yield():
            return next(self._urgent(now_s))
        counts = self._queue.standing
        full = [position for position, count in counts.items() if count >= self._costs.max_frames]
        position = max(full) if full else wave if wave and wave in counts else min(counts)
        standing = self._standing_at(position)
        stop = self._stop(standing, position)
        given_up = self._missed(standing, now_s) if stop == self._depth else 0
        return Step(standing[given_up:], stop, stop, standing[:given_up])

    def _jobs_yield(self) -> bool:
        """Whether frames run one by one, some of them have to make way, and others wait."""
        jobs = self._queue.jobs
        return self._costs.max_frames == 1 and jobs[-1].yields and not jobs[0].yields

    def _urgent(self, now_s: float) -> Iterator[Step]:
        """Steps at the position of the earliest deadline."""
        leader = self._queue.jobs[0]
        standing = self._standing_at(leader.position)
        stop = self._stop(standing, leader.position)
        yield Step(self._most_in_time(standing, now_s), stop, self._depth)
        given_up = self._missed(standing, now_s)
        if given_up:
            yield Step(standing[given_up:], stop, self._depth, standing[:given_up])

    def _missed(self, standing: Sequence[Waiting], now_s: float) -> int:
        """How many of the earliest deadlines a batch misses, if it leaves these out; all but one at most."""
        last = len(standing) - 1
        return bisect_left(range(last), True, key=lambda first: self._in_time(standing[first:], now_s))

    def _standing_at(self, position: int) -> list[Waiting]:
        """As many of those that stand there as a batch may hold, at least one; the earliest deadlines first."""
        jobs = self._queue.jobs
        standing = [jobs[index] for index, at in enumerate(self._queue.positions) if at == position]
        chosen = standing[: self._costs.max_frames]
        tokens = sum(waiting.job.tokens_at(position) for waiting in chosen)
        while tokens > self._max_tokens and len(chosen) > 1:
            tokens -= chosen.pop().job.tokens_at(position)
        return chosen

    def _stop(self, members: Sequence[Waiting], position: int) -> int:
        """Where a batch from this block stops: at the next entry that is worth it, or where others wait before it."""
        if self._costs.max_frames == 1 and members[0].yields:
            next_entry = next((entry for entry in self._entries if entry > position), self._depth)
            return min(position + max(1, self._depth // _PAUSES), next_entry)
        others = min((at for at in self._queue.standing if at > position), default=self._depth)
        for entry in self._entries:
            if entry >= others:
                break
            if (
                entry > position
                and self._correction.factor * self.seconds(members, position, entry) >= self._least_segment_s
            ):
                return entry
        return others

    def _in_time(self, members: Sequence[Waiting], now_s: float) -> bool:
        """Whether jobs that run now, without a pause, meet the first one's deadline."""
        seconds = self.seconds(members, members[0].position, self._depth)
        return now_s + self._correction.factor * seconds <= members[0].missed_s

    def _most_in_time(self, standing: Sequence[Waiting], now_s: float) -> Sequence[Waiting]:
        """The most of them that meet the first one's deadline together, at least one."""
        late = bisect_left(
            range(len(standing) + 1), True, lo=2, key=lambda count: not self._in_time(standing[:count], now_s)
        )
        return standing[: late - 1]

    def _harm(self, step: Step, now_s: float, arrivals_hz: float) -> tuple[int, int]:
        """Deadlines that a step misses or gives up, and those that it endangers."""
        factor, start, until = self._correction.factor, step.start, step.until
        end_s = now_s + factor * self.seconds(step.members, start, until)
        complete = until == self._depth
        left = len(self._queue.jobs) - len(step.given_up) - complete * len(step.members)
        fullness = self._costs.fullness(left + arrivals_hz * (end_s - now_s))
        missed = len(step.given_up)
        done_s = {waiting.job.id: waiting.share_s(start) for waiting in step.given_up}
        for waiting in step.members:
            if complete:
                missed += end_s > waiting.missed_s
                done_s[waiting.job.id] = waiting.share_s(start)
            else:
                missed += end_s + factor * waiting.rest_s(until, fullness) > waiting.missed_s
                done_s[waiting.job.id] = waiting.share_s(start) - waiting.share_s(until)
        return missed, self._queue.endangered(end_s, fullness, done_s)
