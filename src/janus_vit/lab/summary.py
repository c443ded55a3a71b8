"""A stream in a few numbers: the paper's metrics and what an engineer asks next."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from janus_vit.planning.accuracy import AccuracyTable
from janus_vit.planning.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Summary:
    """Metrics of one stream.

    Attributes:
        frames: that were run. taken: by the camera, those included that were dropped for newer ones.
        violation_ratio: share of the frames taken that were over the SLA or dropped.
        deviation: mean of max(0, (latency - SLA) / SLA).
        throughput_fps: frames a second, first frame's begin to last frame's end.
        accuracy: share of right answers, late ones included; None without labels.
        in_time_accuracy: share of the frames taken that were answered right and in time; None without labels.
        mean_level: mean pruning level of the exponential plans.
        fallbacks: frames that the device had to finish itself.
        kinds: share of frames by what crossed the network: "image", "tokens", "nothing".
    """

    frames: int
    taken: int
    violation_ratio: float
    deviation: float
    mean_s: float
    median_s: float
    p95_s: float
    p99_s: float
    throughput_fps: float
    mean_bytes: float
    mean_level: float
    accuracy: float | None
    in_time_accuracy: float | None
    fallbacks: int
    kinds: dict[str, float]


def summarise(
    outcomes: Sequence[Outcome], labels: Sequence[int | None] = (), taken: int | None = None
) -> Summary | None:
    """Metrics of a stream; None for a stream without frames.

    Args:
        labels: the true class of each frame, or None where unknown.
        taken: frames that the camera took, see `camera.frames_taken`; None: none was dropped.
    """
    if not outcomes:
        return None
    taken = len(outcomes) if taken is None else taken
    in_time = sum(outcome.met for outcome in outcomes)
    run_share = len(outcomes) / taken
    totals_s = [outcome.measured.total_s for outcome in outcomes]
    duration_s = outcomes[-1].at_s + totals_s[-1] - outcomes[0].at_s
    known = [
        (outcome.answer.classes[0] == label, outcome.met)
        for outcome, label in zip(outcomes, labels, strict=False)
        if label is not None and outcome.answer.classes
    ]
    kinds = Counter(outcome.plan.sends for outcome in outcomes)
    return Summary(
        frames=len(outcomes),
        taken=taken,
        violation_ratio=1 - in_time / taken,
        deviation=statistics.fmean(outcome.deviation for outcome in outcomes),
        mean_s=statistics.fmean(totals_s),
        median_s=statistics.median(totals_s),
        p95_s=float(np.percentile(totals_s, 95)),
        p99_s=float(np.percentile(totals_s, 99)),
        throughput_fps=len(outcomes) / max(duration_s, 1e-9),
        mean_bytes=statistics.fmean(outcome.size_bytes for outcome in outcomes),
        mean_level=statistics.fmean(outcome.plan.exponential_level for outcome in outcomes),
        accuracy=statistics.fmean(right for right, _ in known) if known else None,
        in_time_accuracy=run_share * statistics.fmean(right and met for right, met in known) if known else None,
        fallbacks=sum(outcome.fallback is not None for outcome in outcomes),
        kinds={kind: count / len(outcomes) for kind, count in kinds.most_common()},
    )


def expected_in_time(outcomes: Sequence[Outcome], taken: int, accuracy: AccuracyTable) -> float | None:
    """Expected share of the frames taken that are right and in time, by the measured accuracy of their plans.

    For simulated streams, which answer nothing; None if some plan was never measured.
    """
    in_time = [outcome for outcome in outcomes if outcome.met]
    shares = [accuracy.share_of_answer(outcome.plan, outcome.fallback is not None) for outcome in in_time]
    return sum(shares) / taken if taken and not any(map(math.isnan, shares)) else None
