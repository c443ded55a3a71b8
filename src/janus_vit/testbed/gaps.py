"""Why a live run and its simulation differ: the gap of their means, in parts that add up to it. Knows no process."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from janus_vit.planning.outcome import Outcome
from janus_vit.planning.policies.presets import Platforms
from janus_vit.records.summary import Summary
from janus_vit.simulation.costs import Costs

MEDIAN_TOLERANCE = 0.10  # of the live median
LATE_TOLERANCE = 0.03  # of the frames taken
CHOICES = "choices"
OTHER = "other"  # of the frame's time, what no part accounts for
_DRIFT = 0.05  # from which on a machine's speed is worth a word
_FEW = 10  # frames; of fewer nothing is said
_NAMED = 3
Parts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One policy, live and simulated, on the same trace with the same profiles.

    Attributes:
        time_parts: what each part adds to the mean frame time, live minus simulated, seconds; `CHOICES` is what comes
            of other plans, all else of other times for the same kind of plan.
        late_parts: the same for the share of late frames among those that were run.
        device_ratios, cloud_ratios: of the live frames, see `compute_ratios`.
    """

    policy: str
    live: Summary
    simulated: Summary
    time_parts: Parts
    late_parts: Parts
    device_ratios: tuple[float, ...]
    cloud_ratios: tuple[float, ...]

    @property
    def median_gap(self) -> float:
        """Live minus simulated median latency, relative to the live one."""
        return 1 - self.simulated.median_s / self.live.median_s

    @property
    def late_gap(self) -> float:
        """Live minus simulated violation ratio."""
        return self.live.violation_ratio - self.simulated.violation_ratio

    @property
    def close(self) -> bool:
        """Whether both gaps are inside their tolerance."""
        return not self.misses

    @property
    def misses(self) -> tuple[str, ...]:
        """What is outside its tolerance, one sentence each."""
        found = []
        if abs(self.median_gap) > MEDIAN_TOLERANCE:
            found.append(
                f"the median is {_ms(self.live.median_s)} ms live and {_ms(self.simulated.median_s)} ms simulated "
                f"({self.median_gap:+.1%}); the mean's {_signed_ms(sum(self.time_parts.values()))} ms are "
                + _largest(self.time_parts, _signed_ms)
            )
        if abs(self.late_gap) > LATE_TOLERANCE:
            dropped = self.late_gap - sum(self.late_parts.values())
            found.append(
                f"{self.live.violation_ratio:.1%} are late live and {self.simulated.violation_ratio:.1%} simulated; "
                f"the {_points(self.late_gap)} points are "
                + _largest({**self.late_parts, "dropped frames": dropped}, _points)
            )
        return tuple(found)

    @property
    def speeds(self) -> Mapping[str, float]:
        """Of each side where enough frames computed, what the usual one took, by what its profile says."""
        sides = {"device": self.device_ratios, "cloud": self.cloud_ratios}
        return {side: statistics.median(ratios) for side, ratios in sides.items() if len(ratios) >= _FEW}

    @property
    def drift(self) -> str | None:
        """A sentence if a machine did not keep the speed of its profile."""
        found = [
            f"the {side} took {speed:.2f} times as long as its profile says"
            for side, speed in self.speeds.items()
            if abs(speed - 1) > _DRIFT
        ]
        return " and ".join(found) or None


def time_gap(live: Sequence[Outcome], simulated: Sequence[Outcome]) -> Parts:
    """The gap of the mean frame time, seconds, by part; the parts add up to it."""
    return _gap(live, simulated, _times)


def late_gap(live: Sequence[Outcome], simulated: Sequence[Outcome]) -> Parts:
    """The gap of the late share of the frames that were run, by what these frames were; adds up to it."""
    return _gap(
        live, simulated, lambda outcome: {f"late frames that sent {outcome.plan.sends}": float(not outcome.met)}
    )


def compute_ratios(
    outcomes: Sequence[Outcome], platforms: Platforms, least_s: float = 0.0
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute measured by predicted from the profiles, of the frames that computed on the device and in the cloud.

    Args:
        least_s: leave out what was predicted to be shorter.
    """
    costs = Costs(platforms)
    whole = [(outcome.measured, costs[outcome.plan]) for outcome in outcomes if outcome.fallback is None]
    device = (real.device_s / cost.device_s for real, cost in whole if cost.device_s > least_s)
    cloud = (real.cloud_s / cost.cloud_s for real, cost in whole if cost.cloud_s > least_s)
    return tuple(device), tuple(cloud)


def _gap(live: Sequence[Outcome], simulated: Sequence[Outcome], values: Callable[[Outcome], Parts]) -> Parts:
    """Each kind of frame has a share and a mean in both runs. What the shares differ, at the mean of both means, is
    choice; what the means differ, at the mean of both shares, belongs to its parts."""
    ours, theirs = _by_kind(live, values), _by_kind(simulated, values)
    gap: dict[str, float] = defaultdict(float)
    for kind in sorted({*ours, *theirs}):
        share, parts = ours.get(kind, (0.0, theirs[kind][1] if kind in theirs else {}))
        other_share, other_parts = theirs.get(kind, (0.0, parts))
        gap[CHOICES] += (share - other_share) * (sum(parts.values()) + sum(other_parts.values())) / 2
        for name in {**parts, **other_parts}:
            difference = parts.get(name, 0.0) - other_parts.get(name, 0.0)
            gap[name] += (share + other_share) / 2 * difference
    return dict(gap)


def _by_kind(outcomes: Sequence[Outcome], values: Callable[[Outcome], Parts]) -> dict[str, tuple[float, Parts]]:
    """Of each kind of frame its share and its mean values."""
    kinds: dict[str, list[Parts]] = defaultdict(list)
    for outcome in outcomes:
        kinds[f"{outcome.plan.sends} {outcome.fallback is not None}"].append(values(outcome))
    return {
        kind: (len(rows) / len(outcomes), {name: statistics.fmean(row[name] for row in rows) for name in rows[0]})
        for kind, rows in kinds.items()
    }


def _times(outcome: Outcome) -> Parts:
    times = asdict(outcome.measured)
    total_s = times.pop("total_s")
    parts = {name.removesuffix("_s"): seconds for name, seconds in times.items()}
    return {**parts, OTHER: total_s - sum(parts.values())}


def _largest(parts: Parts, show: Callable[[float], str]) -> str:
    largest = sorted(parts.items(), key=lambda part: -abs(part[1]))[:_NAMED]
    return ", ".join(f"{name} {show(value)}" for name, value in largest if value)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}"


def _signed_ms(seconds: float) -> str:
    return f"{1e3 * seconds:+.1f}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
