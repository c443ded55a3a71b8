"""A stream in a few numbers: the paper's metrics, and percentiles, accuracy and throughput."""

from __future__ import annotations

import math
import statistics
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np

from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.outcome import Outcome

_LATENCIES = 2_000_000  # percentiles are of the last ones, since a camera may run for weeks


@dataclass(frozen=True, slots=True)
class Summary:
    """Metrics of one stream.

    Attributes:
        frames: number of frames that were run.
        taken: number of frames that the camera took, including dropped and skipped ones.
        violation_ratio: share of the frames taken that were over the SLA, dropped or skipped.
        deviation: mean of max(0, (latency - SLA) / SLA).
        mean_s: mean latency.
        median_s: median latency.
        p95_s: 95th percentile of the latency.
        p99_s: 99th percentile of the latency.
        throughput_fps: frames per second, from the start of the first frame to the end of the last.
        mean_bytes: mean size of the payload.
        mean_level: mean pruning level of plans of the exponential family; 0 counts for other plans.
        accuracy: share of right answers, late ones included; None without labels.
        in_time_accuracy: share of the frames taken that were answered right and in time; None without labels.
        fallbacks: number of frames that the device had to finish itself.
        kinds: share of frames by what was sent: "image", "tokens" or "nothing".
        refused_replies: number of fallbacks because the reply of the cloud cannot be right.
        impossible: number of probes and reports of load that cannot be right.
        discarded_s: compute of a frame on the device that the cloud's answer made needless, in the mean.
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
    refused_replies: int = 0
    impossible: int = 0
    discarded_s: float = 0.0


class Tally:
    """Summarise a stream while it runs, however long: 8 bytes a frame, at most 16 MB."""

    def __init__(self) -> None:
        self._totals_s = array("d")  # of the last frames
        self._began_s = self._ended_s = 0.0
        self._frames = self._in_time = self._known = self._right = self._right_in_time = 0
        self._fallbacks = self._refused_replies = self._impossible = 0
        self._total_s = self._deviation = self._level = self._discarded_s = 0.0
        self._bytes = 0
        self._kinds: Counter[str] = Counter()

    @property
    def frames(self) -> int:
        """Number of frames so far."""
        return self._frames

    def add(self, outcome: Outcome, label: int | None = None) -> None:
        """Count the next frame.

        Args:
            outcome: what happened to the frame.
            label: its true class, if known.
        """
        total_s = outcome.measured.total_s
        if not self._frames:
            self._began_s = outcome.at_s
        if len(self._totals_s) == _LATENCIES:
            del self._totals_s[: _LATENCIES // 2]
        self._totals_s.append(total_s)
        self._ended_s = outcome.at_s + total_s
        self._frames += 1
        self._in_time += outcome.met
        self._total_s += total_s
        self._deviation += outcome.deviation
        self._bytes += outcome.size_bytes
        self._level += outcome.plan.exponential_level
        self._fallbacks += outcome.fallback is not None
        self._refused_replies += outcome.refused_reply is not None
        self._impossible += len(outcome.impossible)
        self._discarded_s += outcome.measured.discarded_s
        self._kinds[outcome.plan.sends] += 1
        if label is not None and outcome.answer.classes:
            right = outcome.answer.classes[0] == label
            self._known += 1
            self._right += right
            self._right_in_time += right and outcome.met

    def summary(self, taken: int | None = None) -> Summary | None:
        """Return the metrics so far; None if there was no frame.

        Args:
            taken: number of frames that the camera took, see `pacing.frames_taken`; None: none was dropped.
        """
        frames, known = self._frames, self._known
        if not frames:
            return None
        taken = frames if taken is None else taken
        return Summary(
            frames=frames,
            taken=taken,
            violation_ratio=1 - self._in_time / taken,
            deviation=self._deviation / frames,
            mean_s=self._total_s / frames,
            median_s=statistics.median(self._totals_s),
            p95_s=float(np.percentile(self._totals_s, 95)),
            p99_s=float(np.percentile(self._totals_s, 99)),
            throughput_fps=frames / max(self._ended_s - self._began_s, 1e-9),
            mean_bytes=self._bytes / frames,
            mean_level=self._level / frames,
            accuracy=self._right / known if known else None,
            in_time_accuracy=frames / taken * self._right_in_time / known if known else None,
            fallbacks=self._fallbacks,
            kinds={kind: count / frames for kind, count in self._kinds.most_common()},
            refused_replies=self._refused_replies,
            impossible=self._impossible,
            discarded_s=self._discarded_s / frames,
        )


def summarise(
    outcomes: Iterable[Outcome], labels: Iterable[int | None] = (), taken: int | None = None
) -> Summary | None:
    """Return the metrics of a finished stream; None if there was no frame.

    Args:
        outcomes: what happened to each frame.
        labels: the true class of each frame, or None where unknown.
        taken: number of frames that the camera took; None: none was dropped.
    """
    tally = Tally()
    for outcome, label in zip(outcomes, chain(labels, repeat(None)), strict=False):
        tally.add(outcome, label)
    return tally.summary(taken)


def expected_in_time(outcomes: Sequence[Outcome], taken: int, accuracy: AccuracyTable) -> float | None:
    """Expected share of right answers in time, from the measured accuracy of the plans. For simulated streams.

    Args:
        outcomes: what happened to each frame.
        taken: number of frames that the camera took.
        accuracy: measured accuracy of the plans.

    Returns:
        The share of the frames taken; None if the accuracy of a plan is unknown.
    """
    in_time = [outcome for outcome in outcomes if outcome.met]
    shares = [accuracy.share_of_answer(outcome.plan, outcome.fallback is not None) for outcome in in_time]
    return sum(shares) / taken if taken and not any(map(math.isnan, shares)) else None
