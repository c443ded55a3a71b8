"""Policies side by side: many simulated cases on many links.

Beside the policies stand two that no device can run, see `janus_vit.lab.hindsight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from janus_vit.lab.frames import Case, Frames, run_policy
from janus_vit.lab.hindsight import best_fixed, oracle
from janus_vit.planning.latency import Floats
from janus_vit.planning.presets import make_policy

ORACLE, BEST_FIXED = "oracle", "best-fixed"
BEYOND = {
    ORACLE: "the most accurate plan in time for each frame, with the future of the link known: the limit",
    BEST_FIXED: "the one plan that would have been best for the whole case, known afterwards",
}


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
