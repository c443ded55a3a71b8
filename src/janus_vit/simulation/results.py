"""Results of one simulated stream as arrays: one entry for every frame that the camera took, dropped ones included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from janus_vit.links.traces import Trace
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.latency import Floats
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.plan import Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Policy
from janus_vit.simulation.simulate import simulate

PAYLOAD_KINDS = ("nothing", "image", "tokens")


@dataclass(frozen=True, slots=True)
class Case:
    """One policy on one link.

    Attributes:
        policy: a preset's name, FILE.py:CLASS, or one of `compare.REFERENCES`.
        platforms: both sides, and what the policy knows of the link before the first frame.
        trace: the uplink's rate over time.
        sla_s: time allowed for each frame.
        duration_s: length of the stream.
        period_s: time between two frames of the camera; None runs frames back to back.
        late_target: share of late frames that the user accepts, see `make_policy`; None for the references.
    """

    policy: str
    platforms: Platforms
    trace: Trace
    sla_s: float
    duration_s: float
    period_s: float | None = None
    late_target: float | None = None


@dataclass(frozen=True)
class FrameResults:
    """What happened to each frame of a stream. All arrays are [frames]; a dropped frame has an infinite `total_s`.

    Attributes:
        sla_s: time allowed for each frame.
        at_s: when the frame was captured.
        total_s: time from capture to answer.
        accuracy: expected accuracy of the answer; NaN where none was measured.
        size_bytes: payload bytes.
        device_s: compute on the device.
        cloud_s: compute in the cloud.
        level: pruning level.
        split: split point.
        kind: payload kind as an index into `PAYLOAD_KINDS`; -1 for a dropped frame.
    """

    sla_s: float
    at_s: Floats
    total_s: Floats
    accuracy: Floats
    size_bytes: Floats
    device_s: Floats
    cloud_s: Floats
    level: Floats
    split: NDArray[np.int64]
    kind: NDArray[np.int64]

    @property
    def late(self) -> NDArray[np.bool_]:
        """Which frames missed the SLA; a dropped frame did."""
        return self.total_s > self.sla_s

    @property
    def value(self) -> Floats:
        """Accuracy of an answer in time, 0 for a late one; the mean is the share that is right and in time."""
        return np.where(self.late, 0.0, self.accuracy)

    @property
    def was_run(self) -> NDArray[np.bool_]:
        """Which frames were run, late or not."""
        return np.isfinite(self.total_s)


def run_policy(policy: Policy, case: Case) -> FrameResults:
    """Simulate a case with a policy object instead of the policy that the case names."""
    outcomes = simulate(policy, case.platforms, case.trace, case.sla_s, case.duration_s, period_s=case.period_s)
    return as_results(list(outcomes), case)


def as_results(outcomes: Sequence[Outcome], case: Case) -> FrameResults:
    """Return the results of a stream that has run; frames of the camera without an outcome were dropped."""
    accuracy_of = lru_cache(maxsize=None)(partial(_accuracy, case.platforms.accuracy))
    places, taken = _places(outcomes, case)

    def column(values: Sequence[float], missing: float = 0.0) -> Floats:
        filled = np.full(taken, missing)
        filled[places] = values
        return filled

    at_s = column([outcome.at_s for outcome in outcomes])
    if case.period_s is not None:  # dropped frames have a capture time too
        at_s = np.arange(taken, dtype=float) * case.period_s
    measured = [outcome.measured for outcome in outcomes]
    plans = [outcome.plan for outcome in outcomes]
    return FrameResults(
        sla_s=case.sla_s,
        at_s=at_s,
        total_s=column([times.total_s for times in measured], np.inf),
        accuracy=column([accuracy_of(outcome.plan, outcome.fallback is not None) for outcome in outcomes]),
        size_bytes=column([outcome.size_bytes for outcome in outcomes]),
        device_s=column([times.device_s + times.encode_s + times.fallback_s for times in measured]),
        cloud_s=column([times.cloud_s + times.decode_s for times in measured]),
        level=column([plan.exponential_level for plan in plans]),
        split=column([plan.split for plan in plans]).astype(int),
        kind=column([payload_kind(plan) for plan in plans], -1).astype(int),
    )


def _places(outcomes: Sequence[Outcome], case: Case) -> tuple[NDArray[np.int64], int]:
    """Return each outcome's index among the frames that were taken, and how many were taken."""
    if case.period_s is None:
        return np.arange(len(outcomes)), len(outcomes)
    places = np.array([round(outcome.at_s / case.period_s) for outcome in outcomes], int)
    return places, max(int(np.ceil(case.duration_s / case.period_s - 1e-9)), *(places[-1:] + 1), 1)


def payload_kind(plan: Plan) -> int:
    """Return what a plan sends, as an index into `PAYLOAD_KINDS`."""
    return PAYLOAD_KINDS.index(plan.sends)


def _accuracy(table: AccuracyTable | None, plan: Plan, finished_here: bool) -> float:
    """Return the share of right answers of a plan, or of its fallback; NaN without a table."""
    return table.share_of_answer(plan, finished_here) if table else float("nan")
