"""One simulated stream as arrays: what became of every frame that was taken, dropped ones included."""

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
from janus_vit.planning.policies.base import Policy
from janus_vit.planning.policies.presets import Platforms
from janus_vit.simulation.simulate import simulate

KINDS = ("nothing", "image", "tokens")


@dataclass(frozen=True, slots=True)
class Case:
    """One policy on one link.

    Attributes:
        policy: a name or FILE.py:CLASS, or one of `compare.BEYOND`.
        platforms: both sides and what is known of the link before. trace: the link. sla_s, period_s: as in `simulate`.
    """

    policy: str
    platforms: Platforms
    trace: Trace
    sla_s: float
    duration_s: float
    period_s: float | None = None


@dataclass(frozen=True)
class Frames:
    """What became of each frame that was taken; one that was never run has an infinite total. Arrays are [frames].

    Attributes:
        at_s: when it was taken. total_s: until the answer.
        worth: accuracy of its answer, NaN where nobody measured it. size_bytes: sent.
        device_s, cloud_s: compute on both sides. level: pruning level. split: where it was handed over.
        kind: place among `KINDS` of what it sent; -1 never run.
    """

    sla_s: float
    at_s: Floats
    total_s: Floats
    worth: Floats
    size_bytes: Floats
    device_s: Floats
    cloud_s: Floats
    level: Floats
    split: NDArray[np.int64]
    kind: NDArray[np.int64]

    @property
    def late(self) -> NDArray[np.bool_]:
        """Over the SLA, or never run."""
        return self.total_s > self.sla_s

    @property
    def value(self) -> Floats:
        """Accuracy of an answer in time, 0 for a late one: their mean is the share that is right and in time."""
        return np.where(self.late, 0.0, self.worth)

    @property
    def run(self) -> NDArray[np.bool_]:
        """Frames that were run at all."""
        return np.isfinite(self.total_s)


def run_policy(policy: Policy, case: Case) -> Frames:
    """Simulate a stream with a policy that exists already."""
    outcomes = simulate(policy, case.platforms, case.trace, case.sla_s, case.duration_s, period_s=case.period_s)
    return _frames(list(outcomes), case)


def _frames(outcomes: Sequence[Outcome], case: Case) -> Frames:
    """Outcomes as arrays, with a place for every frame that the camera took."""
    worth_of = lru_cache(maxsize=None)(partial(_worth, case.platforms.accuracy))
    if case.period_s is None:
        places = np.arange(len(outcomes))
        taken = len(outcomes)
    else:
        places = np.array([round(outcome.at_s / case.period_s) for outcome in outcomes], int)
        taken = max(int(np.ceil(case.duration_s / case.period_s - 1e-9)), *(places[-1:] + 1), 1)

    def column(values: Sequence[float], missing: float = 0.0) -> Floats:
        filled = np.full(taken, missing)
        filled[places] = values
        return filled

    at_s = column([outcome.at_s for outcome in outcomes])
    if case.period_s is not None:  # also of the frames that were never run
        at_s = np.arange(taken, dtype=float) * case.period_s
    measured = [outcome.measured for outcome in outcomes]
    plans = [outcome.plan for outcome in outcomes]
    return Frames(
        case.sla_s,
        at_s,
        column([part.total_s for part in measured], np.inf),
        column([worth_of(outcome.plan, outcome.fallback is not None) for outcome in outcomes]),
        column([outcome.size_bytes for outcome in outcomes]),
        column([part.device_s + part.encode_s + part.fallback_s for part in measured]),
        column([part.cloud_s + part.decode_s for part in measured]),
        column([plan.exponential_level for plan in plans]),
        column([plan.split for plan in plans]).astype(int),
        column([kind_of(plan) for plan in plans], -1).astype(int),
    )


def kind_of(plan: Plan) -> int:
    """What a plan sends as a number: its place among `KINDS`."""
    return KINDS.index(plan.sends)


def _worth(accuracy: AccuracyTable | None, plan: Plan, finished_here: bool) -> float:
    """Share of right answers by a plan, or by its rescue; NaN where nobody measured it."""
    return accuracy.share_of_answer(plan, finished_here) if accuracy else float("nan")
