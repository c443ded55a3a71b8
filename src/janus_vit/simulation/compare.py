"""Comparison of policies: simulate many cases, and sum up each stream in a `Score`.

Beside the policies there are two references that no device can run, see `janus_vit.simulation.bounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from janus_vit.planning.latency import Floats
from janus_vit.planning.policies.presets import make_policy
from janus_vit.simulation.bounds import run_best_fixed, run_oracle
from janus_vit.simulation.results import PAYLOAD_KINDS, Case, FrameResults, run_policy

ORACLE, BEST_FIXED = "oracle", "best-fixed"
REFERENCES = (ORACLE, BEST_FIXED)
Progress = Callable[[float, str], None]  # share done 0..1, what was simulated


@dataclass(frozen=True, slots=True)
class Score:
    """One stream in numbers. A dropped frame counts as late and sends nothing.

    Attributes:
        late: share of frames over the SLA.
        value: share of frames that are right and in time; NaN where no accuracy was measured.
        accuracy: mean accuracy of the answers in time.
        median_s: median latency of the frames that were run.
        p99_s: 99th percentile of these latencies.
        fps: answers in time per second.
        size_bytes: mean payload bytes over all frames.
        device_s: mean compute time on the device over all frames.
        cloud_s: mean compute time in the cloud over all frames.
        kinds: share of frames for each of `results.PAYLOAD_KINDS`.
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


def score(results: FrameResults) -> Score:
    """Sum up one stream."""
    run_s, in_time = results.total_s[results.was_run], ~results.late
    last_s = float(results.total_s[-1]) if results.was_run[-1] else results.sla_s
    stream_s = float(results.at_s[-1]) + last_s
    return Score(
        late=float(results.late.mean()),
        value=float(results.value.mean()),
        accuracy=float(results.accuracy[in_time].mean()) if in_time.any() else float("nan"),
        median_s=float(np.median(run_s)) if len(run_s) else float("inf"),
        p99_s=float(np.percentile(run_s, 99)) if len(run_s) else float("inf"),
        fps=float(in_time.sum()) / stream_s,
        size_bytes=float(results.size_bytes.mean()),
        device_s=float(results.device_s.mean()),
        cloud_s=float(results.cloud_s.mean()),
        kinds=tuple(float((results.kind == kind).mean()) for kind in range(len(PAYLOAD_KINDS))),
    )


def run_case(case: Case) -> FrameResults:
    """Simulate one case.

    Raises:
        InputError: the policy is unknown, or cannot use the case's profiles or accuracy.
    """
    if case.policy == ORACLE:
        return run_oracle(case)
    if case.policy == BEST_FIXED:
        return run_best_fixed(case)
    return run_policy(make_policy(case.policy, case.platforms, case.late_target), case)


def run_cases(
    cases: Sequence[Case], workers: int = 1, progress: Progress = lambda share, what: None
) -> Iterator[FrameResults]:
    """Simulate cases and yield their results in order.

    Args:
        cases: what to simulate.
        workers: number of processes.
        progress: called after each case.
    """
    workers = min(workers, len(cases))
    if workers <= 1:
        yield from _with_progress(map(run_case, cases), cases, progress)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from _with_progress(pool.map(run_case, cases, chunksize=4), cases, progress)


def _with_progress(
    results: Iterator[FrameResults], cases: Sequence[Case], progress: Progress
) -> Iterator[FrameResults]:
    for done, (each, case) in enumerate(zip(results, cases, strict=True), 1):
        progress(done / len(cases), f"{case.policy} on {case.trace.name}")
        yield each


def interval(values: Floats, seed: int = 0, rounds: int = 1000) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean over runs, by bootstrap.

    Args:
        values: one value for each run.
        seed: seed of the resampling.
        rounds: number of resamples.
    """
    if len(values) < 2:
        return float(values.mean()), float(values.mean())
    drawn = np.random.default_rng(seed).integers(0, len(values), (rounds, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
