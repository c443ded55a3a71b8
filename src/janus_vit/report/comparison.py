"""Policies side by side as sections of a page: over all links, link by link, accuracy against latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from janus_vit.planning.latency import Floats
from janus_vit.report.canvas import colours_of
from janus_vit.report.figures import Bar, Spot, bars, pareto
from janus_vit.report.page import Section, Table
from janus_vit.simulation.compare import ORACLE, Score, interval

ByPolicy = Mapping[str, Sequence[Score]]  # one score for each link, in one order
HEADER = (
    "policy",
    "late %",
    "right and in time %",
    "regret, points",
    "accuracy in time %",
    "median ms",
    "p99 ms",
    "in time per s",
    "kB a frame",
    "device ms",
    "cloud ms",
    "here / image / tokens %",
)
CLOSE = 0.002  # shares that are nearer are equal


def table(scores: ByPolicy) -> Table:
    """Means over links; below them 95 % intervals over links. Regret is against the oracle, if it is there."""
    return Table(HEADER, [row(policy, scores) for policy in scores])


def row(policy: str, scores: ByPolicy) -> list[str]:
    """One policy's cells."""
    mine = scores[policy]
    value = np.array([each.value for each in mine])
    regret = (
        np.array([best.value for best in scores[ORACLE]]) - value if ORACLE in scores else np.full(len(mine), np.nan)
    )
    kinds = np.mean([each.kinds for each in mine], axis=0)
    return [
        policy,
        with_interval(100 * np.array([each.late for each in mine])),
        with_interval(100 * value),
        with_interval(100 * regret),
        _mean([100 * each.accuracy for each in mine], 2),
        _mean([1e3 * each.median_s for each in mine], 0),
        _mean([1e3 * each.p99_s for each in mine], 0),
        _mean([each.fps for each in mine], 2),
        _mean([each.size_bytes / 1e3 for each in mine], 1),
        _mean([1e3 * each.device_s for each in mine], 0),
        _mean([1e3 * each.cloud_s for each in mine], 1),
        " / ".join(f"{100 * share:.0f}" for share in kinds),
    ]


def overall(title: str, text: str, scores: ByPolicy) -> Section:
    """All links together, as numbers and bars."""
    drawn, unit = {}, "Right and in time" if measured(scores) else "In time"
    for policy, mine in scores.items():
        shares = 100 * np.array([each.value if measured(scores) else 1 - each.late for each in mine])
        drawn[policy] = [Bar(float(shares.mean()), *interval(shares))]
    return Section(title, text, (bars([""], drawn, unit, "%", colours=colours_of(scores)),), (table(scores),))


def per_link(title: str, scores: ByPolicy, links: Sequence[str]) -> Section:
    """Link by link; where the default policy is behind is said."""
    shares = {p: [each.value if measured(scores) else 1 - each.late for each in mine] for p, mine in scores.items()}
    rows = [[link, *(f"{100 * shares[policy][i]:.1f}" for policy in scores)] for i, link in enumerate(links)]
    text = f"{'Right and in time' if measured(scores) else 'In time'}, %."
    others = [policy for policy in scores if policy not in (ORACLE, "adaptive")]
    if "adaptive" in scores and others:
        text += " " + _behind(shares, others, links)
    return Section(title, text, (), (Table(["link", *scores], rows),))


def _behind(shares: Mapping[str, Sequence[float]], others: Sequence[str], links: Sequence[str]) -> str:
    found = []
    for index, link in enumerate(links):
        best = max(others, key=lambda policy: shares[policy][index])
        gap = shares[best][index] - shares["adaptive"][index]
        if gap > CLOSE:
            found.append(f"{link} ({best}, {100 * gap:.1f})")
    listed = f": {', '.join(found)}" if found else ""
    return (
        f"The default policy is more than {100 * CLOSE:.1f} points behind the best of all others on {len(found)} of "
        f"{len(links)} links{listed}."
    )


def front(title: str, scores: ByPolicy) -> str:
    """What is right and in time over latency, with the front of what nothing beats in both."""
    spots = []
    for policy, mine in scores.items():
        if policy != ORACLE and any(each.late < 0.5 for each in mine):
            value = np.array([each.value for each in mine])
            spots.append(Spot(policy, float(np.median([each.median_s for each in mine])), float(value.mean())))
    return pareto(spots, title, "median latency, ms", "right and in time, %", colours_of(scores))


def measured(scores: ByPolicy) -> bool:
    """Whether it is known what share of answers is right."""
    return not any(np.isnan(each.value) for mine in scores.values() for each in mine)


def with_interval(values: Floats) -> str:
    """A mean with its interval on a second line, where there are several values."""
    if np.isnan(values).any():
        return "-"
    low, high = interval(values)
    return f"{values.mean():.2f}" + (f"\n{low:.2f}–{high:.2f}" if len(values) > 1 else "")


def _mean(values: Sequence[float], digits: int) -> str:
    """Of what is known."""
    known = [value for value in values if np.isfinite(value)]
    return f"{np.mean(known):.{digits}f}" if known else "-"
