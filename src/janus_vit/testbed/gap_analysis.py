"""Explains the gap between a live run and its simulation: splits it into parts that add up. Starts no process."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from janus_vit.planning.outcome import Outcome
from janus_vit.planning.platforms import Platforms
from janus_vit.records.summary import Summary
from janus_vit.simulation.costs import Costs

MEDIAN_TOLERANCE = 0.10  # of the live median
LATE_TOLERANCE = 0.03  # of the frames taken
CHOICES = "choices"
OTHER = "other"  # the rest of a frame's time, outside all measured parts
_DRIFT_TOLERANCE = 0.05  # of the profile's speed
_LEAST_FRAMES = 10  # needed to judge a side's speed
_PARTS_NAMED = 3
Parts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One policy, live and simulated, on the same trace with the same profiles.

    Attributes:
        policy: a preset's name, or FILE.py:CLASS.
        live: the live run in numbers.
        simulated: the simulation in numbers.
        time_parts: what each part adds to the mean frame time, live minus simulated, in seconds. `CHOICES` is due to
            different plans; every other part is due to different times under the same kind of plan.
        late_parts: the same for the share of late frames among those that were run.
        device_ratios: measured by predicted compute on the device, one for each live frame, see `compute_ratios`.
        cloud_ratios: the same in the cloud.
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
        """Whether both gaps are within their tolerance."""
        return not self.misses

    @property
    def misses(self) -> tuple[str, ...]:
        """One sentence for each gap outside its tolerance."""
        found = []
        if abs(self.median_gap) > MEDIAN_TOLERANCE:
            found.append(
                f"the median is {_ms(self.live.median_s)} ms live and {_ms(self.simulated.median_s)} ms simulated "
                f"({self.median_gap:+.1%}); the gap of the means is {_signed_ms(sum(self.time_parts.values()))} ms, of "
                "which " + _largest(self.time_parts, _signed_ms)
            )
        if abs(self.late_gap) > LATE_TOLERANCE:
            dropped = self.late_gap - sum(self.late_parts.values())
            found.append(
                f"{self.live.violation_ratio:.1%} of the frames are late live and {self.simulated.violation_ratio:.1%} "
                f"simulated: {_points(self.late_gap)} points, of which "
                + _largest({**self.late_parts, "dropped frames": dropped}, _points)
            )
        return tuple(found)

    @property
    def speeds(self) -> Mapping[str, float]:
        """Median ratio of measured to predicted compute time, for each side with enough frames."""
        sides = {"device": self.device_ratios, "cloud": self.cloud_ratios}
        return {side: statistics.median(ratios) for side, ratios in sides.items() if len(ratios) >= _LEAST_FRAMES}

    @property
    def drift(self) -> str | None:
        """A sentence if a machine did not keep the speed of its profile."""
        found = [
            f"the {side} took {speed:.2f} times as long as its profile says"
            for side, speed in self.speeds.items()
            if abs(speed - 1) > _DRIFT_TOLERANCE
        ]
        return " and ".join(found) or None


def time_gap(live: Sequence[Outcome], simulated: Sequence[Outcome]) -> Parts:
    """Split the gap of the mean frame time into parts, in seconds; they add up to the gap."""
    return _gap(live, simulated, _times)


def late_gap(live: Sequence[Outcome], simulated: Sequence[Outcome]) -> Parts:
    """Split the gap of the share of late frames by what the frames sent; the parts add up to the gap."""
    return _gap(
        live, simulated, lambda outcome: {f"late frames that sent {outcome.plan.sends}": float(not outcome.met)}
    )


def largest_parts(parts: Parts) -> str:
    """The largest parts of a gap of times as text, in milliseconds."""
    return _largest(parts, _signed_ms)


def compute_ratios(
    outcomes: Sequence[Outcome], platforms: Platforms, least_s: float = 0.0
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return measured by predicted compute time for the device and for the cloud, one ratio for each frame.

    Args:
        outcomes: frames; those with a fallback are left out.
        platforms: profiles to predict from.
        least_s: leave out frames whose predicted time is not longer.
    """
    costs = Costs(platforms)
    whole = [(outcome.measured, costs[outcome.plan]) for outcome in outcomes if outcome.fallback is None]
    device = (real.device_s / cost.device_s for real, cost in whole if cost.device_s > least_s)
    cloud = (real.cloud_s / cost.cloud_s for real, cost in whole if cost.cloud_s > least_s)
    return tuple(device), tuple(cloud)


def _gap(live: Sequence[Outcome], simulated: Sequence[Outcome], values: Callable[[Outcome], Parts]) -> Parts:
    """Split the gap of the means of `values`.

    In both runs, each kind of frame has a share and a mean. The difference of the shares, times the average of both
    means, counts as `CHOICES`. The difference of the means, times the average of both shares, counts for its part.
    """
    live_kinds, simulated_kinds = _by_kind(live, values), _by_kind(simulated, values)
    gap: dict[str, float] = defaultdict(float)
    for kind in sorted({*live_kinds, *simulated_kinds}):
        share, parts = live_kinds.get(kind, (0.0, simulated_kinds[kind][1] if kind in simulated_kinds else {}))
        other_share, other_parts = simulated_kinds.get(kind, (0.0, parts))
        gap[CHOICES] += (share - other_share) * (sum(parts.values()) + sum(other_parts.values())) / 2
        for name in {**parts, **other_parts}:
            difference = parts.get(name, 0.0) - other_parts.get(name, 0.0)
            gap[name] += (share + other_share) / 2 * difference
    return dict(gap)


def _by_kind(outcomes: Sequence[Outcome], values: Callable[[Outcome], Parts]) -> dict[str, tuple[float, Parts]]:
    """Return the share and the mean values of each kind of frame: by what it sent, and whether it fell back."""
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
    times.pop("discarded_s")  # worked while the cloud's answer was on its way
    parts = {name.removesuffix("_s"): seconds for name, seconds in times.items()}
    return {**parts, OTHER: total_s - sum(parts.values())}


def _largest(parts: Parts, show: Callable[[float], str]) -> str:
    largest = sorted(parts.items(), key=lambda part: -abs(part[1]))[:_PARTS_NAMED]
    return ", ".join(f"{name} {show(value)}" for name, value in largest if value)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}"


def _signed_ms(seconds: float) -> str:
    return f"{1e3 * seconds:+.1f}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
