"""Which batch a free engine runs next. Knows the queue and predicted times, no clock.

Candidates are tried in order of preference: the running wave goes on; a new wave starts where the rearmost jobs stand;
jobs with the earliest deadlines run on their own. The first after which nobody is late wins. If there is none, too much
was admitted: giving up some of the earliest deadlines, which would force small batches, may save more of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from janus_vit.scheduling.estimate import Estimator
from janus_vit.scheduling.queue import DeadlineQueue, Waiting

_GIVEN_UP = (0, 1, 2, 4, 8, 16)  # numbers of earliest deadlines that are tried to be given up


@dataclass(frozen=True, slots=True)
class Step:
    """A batch and the jobs that are given up for it.

    Attributes:
        members: run from their common position.
        stop: block to stop before.
        seconds: predicted.
        given_up: are dropped.
    """

    members: list[Waiting]
    stop: int
    seconds: float
    given_up: list[Waiting]


class Dispatcher:
    """Chooses the next step.

    Args:
        queue: of admitted jobs.
        estimator: predicts seconds.
        entries: blocks at which a batch stops, from 0 to the depth.
        max_frames: in a batch.
        max_tokens: in a batch.
    """

    def __init__(
        self,
        queue: DeadlineQueue,
        estimator: Estimator,
        entries: tuple[int, ...],
        max_frames: int,
        max_tokens: int,
    ) -> None:
        self._queue = queue
        self._estimator = estimator
        self._entries = entries
        self._depth = entries[-1]
        self._max_frames = max_frames
        self._max_tokens = max_tokens

    def choose(self, wave: int, now_s: float) -> Step:
        """The next step.

        Args:
            wave: block at which the last batch stopped.
            now_s: time at which the step begins; at least one job waits.
        """
        best, least = None, 0
        for members, given_up in self._candidates(wave, now_s):
            stop = self._stop(members[0].position)
            step = Step(members, stop, self.batch_s(members, stop), self._queue.jobs[:given_up])
            late = given_up + self._late_after(step, now_s)
            if best is None or late < least:
                best, least = step, late
            if late == 0:
                break
        assert best is not None, "somebody waits"
        return best

    def batch_s(self, members: list[Waiting], stop: int) -> float:
        """Predicted seconds of jobs that stand at one block up to `stop`."""
        start, frames, estimator = members[0].position, len(members), self._estimator
        seconds = estimator.stem_s(frames) if start == 0 else 0.0
        if stop > start:
            work = sum(waiting.work_between(start, stop) for waiting in members)
            merges = sum(waiting.merges_between(start, stop) for waiting in members)
            seconds += estimator.stretch_s(frames * (stop - start), stop - start, work, merges)
        return seconds + estimator.head_s(frames) if stop == self._depth else seconds

    def _candidates(self, wave: int, now_s: float) -> Iterator[tuple[list[Waiting], int]]:
        """Batches that could run next, and how many of the earliest deadlines are given up for each."""
        at = Counter(waiting.position for waiting in self._queue.jobs)
        full = max((position for position, count in at.items() if count >= self._max_frames), default=None)
        if full is not None:
            yield self._standing_at(full), 0
        if wave in at and wave:
            yield self._standing_at(wave), 0
        yield self._standing_at(min(at)), 0
        leader = self._queue.jobs[0]
        yield self._in_time(self._standing_at(leader.position), leader.due_s - now_s), 0
        for given_up in _GIVEN_UP:
            if given_up >= len(self._queue.jobs):
                return
            group = self._queue.group(now_s, given_up)
            rear = min(waiting.position for waiting in group)
            yield self._limited([waiting for waiting in group if waiting.position == rear]), given_up

    def _standing_at(self, position: int) -> list[Waiting]:
        return self._limited([waiting for waiting in self._queue.jobs if waiting.position == position])

    def _limited(self, members: list[Waiting]) -> list[Waiting]:
        """As many as a batch may hold, at least one."""
        chosen = members[: self._max_frames]
        tokens = sum(waiting.job.tokens_at(waiting.position) for waiting in chosen)
        while tokens > self._max_tokens and len(chosen) > 1:
            last = chosen.pop()
            tokens -= last.job.tokens_at(last.position)
        return chosen

    def _in_time(self, members: list[Waiting], within_s: float) -> list[Waiting]:
        """The most of them that are complete after so long, at least one."""
        low, high = 1, len(members)
        while low < high:
            middle = (low + high + 1) // 2
            if self.batch_s(members[:middle], self._depth) <= within_s:
                low = middle
            else:
                high = middle - 1
        return members[:low]

    def _late_after(self, step: Step, now_s: float) -> int:
        """Jobs that are late if this step runs first, without those that it gives up."""
        queue, start, end_s = self._queue, step.members[0].position, now_s + step.seconds
        if step.stop < self._depth:
            for waiting in step.members:
                queue.move(waiting, step.stop)
            late = queue.forecast(end_s, len(step.given_up)).late
            for waiting in step.members:
                queue.move(waiting, start)
            return late
        for waiting in step.members:
            queue.remove(waiting)
        late = queue.forecast(end_s, len(step.given_up)).late
        for waiting in step.members:
            queue.insert(waiting)
        return late + sum(end_s > waiting.due_s for waiting in step.members)

    def _stop(self, position: int) -> int:
        """Where a batch from this block stops: at the next entry, or where others wait before it."""
        entry = next((entry for entry in self._entries if entry > position), self._depth)
        return min((each.position for each in self._queue.jobs if position < each.position < entry), default=entry)
