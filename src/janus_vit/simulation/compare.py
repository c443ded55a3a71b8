"""Policies side by side: many simulated cases on many links.

Beside the policies stand two that no device can run, see `janus_vit.simulation.hindsight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from janus_vit.planning.latency import Floats
from janus_vit.planning.policies.presets import make_policy
from janus_vit.simulation.arrays import KINDS, Case, Frames, run_policy
from janus_vit.simulation.hindsight import best_fixed, oracle

ORACLE, BEST_FIXED = "oracle", "best-fixed"
BEYOND = {
    ORACLE: "the most accurate plan in time for each frame, with the future of the link known: the limit",
    BEST_FIXED: "the one plan that would have been best for the whole case, known afterwards",
}


@dataclass(frozen=True, slots=True)
class Score:
    """One stream in numbers; a frame that was never run is late and sends nothing.

    Attributes:
        late: share over the SLA. value: share that is right and in time, NaN where nobody measured what is right.
        accuracy: of the answers in time. median_s, p99_s: of the frames that were run.
        fps: answers in time a second. size_bytes, device_s, cloud_s: means over all frames that were taken.
        kinds: share of frames that sent each of `frames.KINDS`.
    """

    late: float
    value: float
    accuracy: float
    median_s: float
    p99_s: float
    fps: float
    size_bytes: float
    device_s: float
    cloud_s: float
    kinds: tuple[float, ...]


def score(frames: Frames) -> Score:
    """The numbers of one stream."""
    ran, in_time = frames.total_s[frames.run], ~frames.late
    whole_s = float(frames.at_s[-1]) + (float(frames.total_s[-1]) if frames.run[-1] else frames.sla_s)
    return Score(
        late=float(frames.late.mean()),
        value=float(frames.value.mean()),
        accuracy=float(frames.worth[in_time].mean()) if in_time.any() else float("nan"),
        median_s=float(np.median(ran)) if len(ran) else float("inf"),
        p99_s=float(np.percentile(ran, 99)) if len(ran) else float("inf"),
        fps=float(in_time.sum()) / whole_s,
        size_bytes=float(frames.size_bytes.mean()),
        device_s=float(frames.device_s.mean()),
        cloud_s=float(frames.cloud_s.mean()),
        kinds=tuple(float((frames.kind == kind).mean()) for kind in range(len(KINDS))),
    )


def run(case: Case) -> Frames:
    """Simulate one case.

    Raises:
        InputError: unknown policy, or profiles or measured accuracy that it cannot use.
    """
    if case.policy == ORACLE:
        return oracle(case)
    if case.policy == BEST_FIXED:
        return best_fixed(case)
    return run_policy(make_policy(case.policy, case.platforms), case)


def run_all(
    cases: Sequence[Case], workers: int = 1, progress: Callable[[float, str], None] = lambda share, what: None
) -> Iterator[Frames]:
    """Simulate many cases, in order, on so many processes."""
    if workers == 1:
        yield from _told(map(run, cases), cases, progress)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from _told(pool.map(run, cases, chunksize=4), cases, progress)


def _told(results: Iterator[Frames], cases: Sequence[Case], progress: Callable[[float, str], None]) -> Iterator[Frames]:
    for done, (frames, case) in enumerate(zip(results, cases, strict=True), 1):
        progress(done / len(cases), f"{case.policy} on {case.trace.name}")
        yield frames


def interval(values: Floats, seed: int = 0, rounds: int = 1000) -> tuple[float, float]:
    """95 % confidence interval of the mean over runs, by bootstrap."""
    if len(values) < 2:
        return float(values.mean()), float(values.mean())
    drawn = np.random.default_rng(seed).integers(0, len(values), (rounds, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
