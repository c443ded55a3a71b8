"""What a cloud computes, as plain numbers: one frame's remaining blocks, and frames that run together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """One frame of one client.

    Attributes:
        id: unique within the cloud.
        client: who sent it.
        arrived_s: time of arrival.
        deadline_s: time at which its answer is late.
        entry: next block to run; 0 begins with the stem, the depth of the model with the head.
        tokens: before each remaining block and after the last one: `depth - entry + 1` numbers.
        abandoned_s: time at which nobody waits for its answer any more, if that is later than the deadline.
    """

    id: int
    client: str
    arrived_s: float
    deadline_s: float
    entry: int
    tokens: tuple[int, ...]
    abandoned_s: float = 0.0

    def tokens_at(self, block: int) -> int:
        """Tokens before a block from `entry` to the depth."""
        return self.tokens[block - self.entry]


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs that run together through blocks `start` to `stop`, without `stop`.

    The stem runs first if `start` is 0, the head last if `stop` is the depth of the model; if both are the depth,
    only the head runs.
    """

    jobs: tuple[Job, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class BatchRun:
    """A batch that has run, as one of its frames sees it.

    Attributes:
        began_s: when it began.
        ended_s: when it ended.
        frames: number of frames in it.
        start: first block, see `Batch`.
        stop: block after the last one.
    """

    began_s: float
    ended_s: float
    frames: int
    start: int
    stop: int
