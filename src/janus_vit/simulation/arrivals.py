"""Random requests of a fleet, an engine of known time, and what it could serve at most: inputs of a replay."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from janus_vit.scheduling.costs import CostTable
from janus_vit.scheduling.estimate import BatchCosts
from janus_vit.scheduling.job import Batch, Job


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that arrive at random.

    Attributes:
        blocks: depth of the model.
        tokens: of every frame, unmerged.
        entries: blocks at which frames enter, each equally often.
        deadlines_s: time that a frame has, each equally often.
        clients: that send.
    """

    blocks: int
    tokens: int
    entries: tuple[int, ...]
    deadlines_s: tuple[float, ...]
    clients: int = 64

    def jobs(self, rate_hz: float, seconds: float, seed: int) -> list[Job]:
        """Poisson arrivals at a rate, for so long."""
        generator = random.Random(seed)
        jobs: list[Job] = []
        now_s = generator.expovariate(rate_hz)
        while now_s < seconds:
            client = f"device-{generator.randrange(self.clients)}"
            entry = generator.choice(self.entries)
            deadline_s = now_s + generator.choice(self.deadlines_s)
            jobs.append(Job(len(jobs), client, now_s, deadline_s, entry, self._tokens_from(entry)))
            now_s += generator.expovariate(rate_hz)
        return jobs

    def capacity_hz(self, engine: Callable[[Batch], float], frames: int) -> float:
        """Frames a second if every batch is full, and frames join wherever others enter."""
        stops = sorted({*self.entries, self.blocks})
        engine_s = 0.0
        for start, stop in zip(stops[:-1], stops[1:], strict=True):
            jobs = tuple(Job(index, "", 0.0, 0.0, start, self._tokens_from(start)) for index in range(frames))
            present = sum(entry <= start for entry in self.entries) / len(self.entries)
            engine_s += present * engine(Batch(jobs, start, stop)) / frames
        return 1 / engine_s

    def _tokens_from(self, entry: int) -> tuple[int, ...]:
        return (self.tokens,) * (self.blocks + 1 - entry)


def table_engine(table: CostTable, blocks: int, most_frames: int) -> Callable[[Batch], float]:
    """An engine that takes exactly as long as a cost table says, for batches of at most so many frames."""
    costs = BatchCosts(table, blocks, most_frames)

    def seconds(batch: Batch) -> float:
        frames, length = len(batch.jobs), batch.stop - batch.start
        total_s = costs.stem_s[frames] if batch.start == 0 else 0.0
        if length:
            work = merges = 0.0
            for job in batch.jobs:
                route, first, last = costs.route(job.tokens), batch.start - job.entry, batch.stop - job.entry
                work += route.work[last] - route.work[first]
                merges += route.merges[last] - route.merges[first]
            total_s += costs.stretch_s(frames, length, work, merges)
        return total_s + (costs.head_s[frames] if batch.stop == blocks else 0.0)

    return seconds
