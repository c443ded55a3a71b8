"""Admitted jobs in order of their deadlines, and a plan that shows whether all of them can be in time.

The plan groups jobs by deadline. A group runs as one wave: it starts where its rearmost job stands, and the others join
when the wave reaches them. All jobs of a group end together, so the group is in time if its first deadline is met.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from janus_vit.scheduling.estimate import Estimator, work_before
from janus_vit.scheduling.job import Job


class Waiting:
    """An admitted job and the block at which it stands."""

    __slots__ = ("due_s", "job", "merges", "position", "queued", "running", "work")

    def __init__(self, job: Job, due_s: float) -> None:
        self.job = job
        self.due_s = due_s
        self.position = job.entry
        self.running = False
        self.queued = False
        self.work, self.merges = work_before(job.tokens)

    def work_between(self, start: int, stop: int) -> float:
        """Effective tokens in all blocks of a segment."""
        return self.work[stop - self.job.entry] - self.work[start - self.job.entry]

    def merges_between(self, start: int, stop: int) -> int:
        """Blocks of a segment that merge."""
        return self.merges[stop - self.job.entry] - self.merges[start - self.job.entry]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What becomes of all waiting jobs if they run in groups by deadline.

    Attributes:
        late: jobs that miss their deadlines.
        last_start_s: time at which a job that came now would begin to run.
        end_s: time at which all have run.
    """

    late: int
    last_start_s: float
    end_s: float


class DeadlineQueue:
    """Jobs by deadline, with what a forecast needs in parallel lists.

    Args:
        estimator: predicts seconds.
        depth: blocks of the model.
        max_frames: in a batch.
        max_tokens: in a batch.
    """

    def __init__(self, estimator: Estimator, depth: int, max_frames: int, max_tokens: int) -> None:
        self._estimator = estimator
        self._depth = depth
        self._max_frames = max_frames
        self._max_tokens = max_tokens
        self._keys: list[tuple[float, int]] = []
        self._positions: list[int] = []  # next block
        self._work: list[float] = []  # effective tokens in all blocks that are left
        self._merges: list[int] = []  # blocks that are left and merge
        self._tokens: list[int] = []  # before the next block
        self.jobs: list[Waiting] = []

    def __len__(self) -> int:
        return len(self.jobs)

    def insert(self, waiting: Waiting) -> None:
        """Add a job."""
        waiting.queued = True
        key = (waiting.due_s, waiting.job.id)
        index = bisect_left(self._keys, key)
        self._keys.insert(index, key)
        self.jobs.insert(index, waiting)
        for values in (self._positions, self._merges, self._tokens):
            values.insert(index, 0)
        self._work.insert(index, 0.0)
        self._write(index, waiting)

    def remove(self, waiting: Waiting) -> None:
        """Take a job out."""
        waiting.queued = False
        index = self._index(waiting)
        for values in (
            self._keys,
            self.jobs,
            self._positions,
            self._work,
            self._merges,
            self._tokens,
        ):
            del values[index]

    def move(self, waiting: Waiting, position: int) -> None:
        """Let a job stand at another block."""
        waiting.position = position
        self._write(self._index(waiting), waiting)

    def forecast(self, free_s: float, first: int = 0) -> Forecast:
        """What becomes of the jobs from index `first` on if the engine is free at `free_s`."""
        late, end_s, last_start_s = 0, free_s, free_s
        while first < len(self.jobs):
            due_s = self._keys[first][0]
            after = self._full(first)
            seconds = self.wave_s(first, after)
            if end_s + seconds > due_s:
                after = self._largest(first, after, due_s - end_s)
                if after == first:
                    late, first = late + 1, first + 1
                    continue
                seconds = self.wave_s(first, after)
            last_start_s = end_s if after - first < self._max_frames else end_s + seconds
            end_s += seconds
            first = after
        return Forecast(late, last_start_s, end_s)

    def admits(self, waiting: Waiting, free_s: float) -> bool:
        """Whether a job in this queue is in time, and none behind it late, if jobs run in full groups by deadline."""
        index, first, end_s = self._index(waiting), 0, free_s
        while first < len(self.jobs):
            after = self._full(first)
            if first <= index < after and end_s + self.wave_s(first, index + 1) > waiting.due_s:
                return False
            end_s += self.wave_s(first, after)
            if after > index + 1 and end_s > self._keys[max(first, index + 1)][0]:
                return False
            first = after
        return True

    def group(self, free_s: float, first: int = 0) -> list[Waiting]:
        """Jobs of the first wave from index `first` on."""
        for index in range(first, len(self.jobs)):
            after = self._largest(index, self._full(index), self._keys[index][0] - free_s)
            if after > index:
                return self.jobs[index:after]
        return self.jobs[first : first + 1]

    def wave_s(self, first: int, after: int) -> float:
        """Seconds of a wave with the jobs from index `first` to `after`, without `after`."""
        positions, estimator = self._positions[first:after], self._estimator
        frames = after - first
        length = self._depth - min(positions)
        seconds = estimator.head_s(frames)
        if length:
            present = frames * self._depth - sum(positions)  # frames in all blocks
            seconds += estimator.stretch_s(
                present, length, sum(self._work[first:after]), sum(self._merges[first:after])
            )
        return seconds + estimator.stem_s(positions.count(0)) if length == self._depth else seconds

    def _full(self, first: int) -> int:
        """End of the largest group that the limits allow; at least one job."""
        after = min(first + self._max_frames, len(self.jobs))
        while after > first + 1 and sum(self._tokens[first:after]) > self._max_tokens:
            after -= 1
        return after

    def _largest(self, first: int, after: int, within_s: float) -> int:
        """End of the largest group within `after` whose wave takes at most so long; `first` if there is none."""
        low, high = first, after
        while low < high:
            middle = (low + high + 1) // 2
            if self.wave_s(first, middle) <= within_s:
                low = middle
            else:
                high = middle - 1
        return low

    def _index(self, waiting: Waiting) -> int:
        return bisect_left(self._keys, (waiting.due_s, waiting.job.id))

    def _write(self, index: int, waiting: Waiting) -> None:
        position, depth = waiting.position, self._depth
        self._positions[index] = position
        self._work[index] = waiting.work_between(position, depth)
        self._merges[index] = waiting.merges_between(position, depth)
        self._tokens[index] = waiting.job.tokens_at(position)
