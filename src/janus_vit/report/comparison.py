"""Sections of a page that compares policies: over all links, link by link, and accuracy over latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from janus_vit.planning.latency import Floats
from janus_vit.report.canvas import colours_of
from janus_vit.report.figures import Bar, ParetoPoint, bars, pareto
from janus_vit.report.page import Section, Table
from janus_vit.simulation.compare import ORACLE, Score, interval

ScoresByPolicy = Mapping[str, Sequence[Score]]  # one score for each link; the same order of links for every policy
HEADER = (
    "policy",
    "late %",
    "right and in time %",
    "regret, points",
    "accuracy in time %",
    "median ms",
    "p99 ms",
    "answers in time per s",
    "kB per frame",
    "device ms",
    "cloud ms",
    "sent: nothing / image / tokens %",
)
TIE = 0.002  # shares that differ by less count as equal


def table(scores: ScoresByPolicy) -> Table:
    """Return a table with the mean over links and its 95 % interval. Regret is the gap to the oracle, if it was run."""
    return Table(HEADER, [row(policy, scores) for policy in scores])


def row(policy: str, scores: ScoresByPolicy) -> list[str]:
    """Return the cells of one policy, in the order of `HEADER`."""
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


def overall(title: str, text: str, scores: ScoresByPolicy) -> Section:
    """Return a section with the means over all links, as bars and as a table."""
    drawn: dict[str, list[Bar | None]] = {}
    for policy in scores:
        shares = 100 * np.array(_shares(scores, policy))
        drawn[policy] = [Bar(float(shares.mean()), *interval(shares))]
    return Section(
        title, text, (bars([""], drawn, _metric(scores), "%", colours=colours_of(scores)),), (table(scores),)
    )


def per_link(title: str, scores: ScoresByPolicy, links: Sequence[str]) -> Section:
    """Return a section with one row for each link, and the links on which the default policy is behind another."""
    shares = {policy: _shares(scores, policy) for policy in scores}
    rows = [[link, *(f"{100 * shares[policy][i]:.1f}" for policy in scores)] for i, link in enumerate(links)]
    text = f"{_metric(scores)}, %."
    others = [policy for policy in scores if policy not in (ORACLE, "adaptive")]
    if "adaptive" in scores and others:
        text += " " + _behind(shares, others, links)
    return Section(title, text, (), (Table(["link", *scores], rows),))


def _behind(shares: Mapping[str, Sequence[float]], others: Sequence[str], links: Sequence[str]) -> str:
    found = []
    for index, link in enumerate(links):
        best = max(others, key=lambda policy: shares[policy][index])
        gap = shares[best][index] - shares["adaptive"][index]
        if gap > TIE:
            found.append(f"{link} ({best}, {100 * gap:.1f})")
    listed = f": {', '.join(found)}" if found else ""
    return (
        f"The default policy is more than {100 * TIE:.1f} points behind the best of the other policies on {len(found)} "
        f"of {len(links)} links{listed}."
    )


def accuracy_over_latency(title: str, scores: ScoresByPolicy) -> str:
    """Draw the share that is right and in time over the median latency, with the Pareto front."""
    points = []
    for policy, mine in scores.items():
        if policy != ORACLE and any(each.late < 0.5 for each in mine):
            value = np.array([each.value for each in mine])
            points.append(ParetoPoint(policy, float(np.median([each.median_s for each in mine])), float(value.mean())))
    return pareto(points, title, "median latency, ms", "right and in time, %", colours_of(scores))


def has_accuracy(scores: ScoresByPolicy) -> bool:
    """Return whether the accuracy of all answers is known."""
    return not any(np.isnan(each.value) for mine in scores.values() for each in mine)


def _metric(scores: ScoresByPolicy) -> str:
    return "Right and in time" if has_accuracy(scores) else "In time"


def _shares(scores: ScoresByPolicy, policy: str) -> list[float]:
    """Return the share that is right and in time on each link; without accuracy, the share in time."""
    known = has_accuracy(scores)
    return [each.value if known else 1 - each.late for each in scores[policy]]


def with_interval(values: Floats) -> str:
    """Format a mean; with several values, its interval on a second line."""
    if np.isnan(values).any():
        return "-"
    low, high = interval(values)
    return f"{values.mean():.2f}" + (f"\n{low:.2f}–{high:.2f}" if len(values) > 1 else "")


def _mean(values: Sequence[float], digits: int) -> str:
    """Format the mean of the finite values; a dash if there is none."""
    known = [value for value in values if np.isfinite(value)]
    return f"{np.mean(known):.{digits}f}" if known else "-"
