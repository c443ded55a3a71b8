"""Inputs of a replay: random requests of a fleet, an engine with known times, and its largest possible throughput."""

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
        blocks: number of blocks of the model.
        tokens: number of tokens of every frame; no frame merges.
        entries: blocks at which frames enter, with equal probability.
        deadlines_s: times allowed for a frame, with equal probability.
        clients: number of clients.
    """

    blocks: int
    tokens: int
    entries: tuple[int, ...]
    deadlines_s: tuple[float, ...]
    clients: int = 64

    def jobs(self, rate_hz: float, seconds: float, seed: int) -> list[Job]:
        """Draw Poisson arrivals at a rate, for the given number of seconds."""
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
        """Return the frames per second if every batch is full and frames join at every entry block."""
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
    """Make an engine that takes exactly the times of a cost table, for batches of at most `most_frames` frames."""
    costs = BatchCosts(table, blocks, most_frames)

    def seconds(batch: Batch) -> float:
        work = merges = 0.0
        for job in batch.jobs:
            route, first, last = costs.route(job.tokens), batch.start - job.entry, batch.stop - job.entry
            work += route.work[last] - route.work[first]
            merges += route.merges[last] - route.merges[first]
        return costs.segment_s(len(batch.jobs), batch.start, batch.stop, work, merges)

    return seconds
