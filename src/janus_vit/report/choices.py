"""A report's section about the plans chosen at each bandwidth."""

from __future__ import annotations

import bisect
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from janus_vit.planning.outcome import Outcome
from janus_vit.planning.plan import Plan
from janus_vit.report.heatmap import Choice, heatmap
from janus_vit.report.overview import Run, milliseconds, percent, sla_of
from janus_vit.report.page import Section, Table

_EDGES_MBPS = tuple(step * 10.0**power for power in range(-2, 4) for step in (1, 2, 5))
_PLANS = 5  # rows of the table for each stream
_TEXT = (
    "Bandwidth is the policy's estimate for the frame; for a policy that does not estimate it, the rate of the last "
    "transfer. Each cell shows the most frequent kind of payload, coloured, its most frequent format, and its share of "
    'the frames. "3: int4" means int4 tokens after block 3.'
)


def choices_section(runs: Sequence[Run]) -> Section:
    """Return a section with a heat map of the most frequent choices and a table of the most frequent plans."""
    columns = [[_column(mbps) for mbps in _expected_mbps(run.outcomes)] for run in runs]
    known = [column for mine in columns for column in mine if column is not None]
    figures = []
    if known:
        shown = range(min(known), max(known) + 1)
        cells = [[_choice(run, mine, column) for column in shown] for run, mine in zip(runs, columns, strict=True)]
        slas_differ = len({run.slas_s for run in runs}) > 1
        names = [f"{run.name}\n{sla_of(run)} ms" if slas_differ else run.name for run in runs]
        title = "Most frequent choices by bandwidth" + (" and SLA" if slas_differ else "")
        figures.append(
            heatmap([_range_of(column) for column in shown], names, cells, title, "estimated bandwidth, Mbps")
        )
    return Section("Choices", _TEXT, figures, [_plans(runs)])


def by_plan(outcomes: Iterable[Outcome]) -> dict[Plan, list[Outcome]]:
    """Group frames by their plan."""
    groups: dict[Plan, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.plan].append(outcome)
    return groups


def _plans(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        groups = by_plan(run.outcomes)
        for plan, group in sorted(groups.items(), key=lambda item: -len(item[1]))[:_PLANS]:
            share = percent(len(group) / len(run.outcomes))
            median = milliseconds(statistics.median(outcome.measured.total_s for outcome in group))
            late = percent(statistics.fmean(not outcome.met for outcome in group))
            rows.append((run.name, str(plan), f"{sum(plan.merges)}", share, median, late))
    header = ("stream", "plan", "tokens merged", "% of frames", "median ms", "late %")
    return Table(header, rows, f"The {_PLANS} most frequent plans of each stream.")


def _expected_mbps(outcomes: Iterable[Outcome]) -> list[float | None]:
    """Return for each frame the bandwidth that its plan was made for; None if it is unknown."""
    expected, last = [], None
    for outcome in outcomes:
        expected.append(last if outcome.predicted.rate_mbps is None else outcome.predicted.rate_mbps)
        last = outcome.transfers[-1].rate_mbps if outcome.transfers else last
    return expected


def _choice(run: Run, columns: Sequence[int | None], column: int) -> Choice | None:
    here = [outcome for outcome, its in zip(run.outcomes, columns, strict=True) if its == column]
    if not here:
        return None
    kind, count = Counter(outcome.plan.sends for outcome in here).most_common(1)[0]
    formats = Counter((one.plan.split, one.plan.payload) for one in here if one.plan.sends == kind)
    split, payload = formats.most_common(1)[0][0]
    sent = {"image": payload, "tokens": f"{split}: {payload}", "nothing": "device"}[kind]
    return Choice(kind, f"{sent}\n{100 * count / len(here):.0f} %", count / len(here))


def _column(mbps: float | None) -> int | None:
    """Return the number of the range that a rate is in: 0 is below 0.01, 1 is 0.01-0.02, 2 is 0.02-0.05, ..."""
    return None if mbps is None else bisect.bisect_right(_EDGES_MBPS, mbps)


def _range_of(column: int) -> str:
    if column == 0:
        return f"< {_EDGES_MBPS[0]:g}"
    if column == len(_EDGES_MBPS):
        return f"\u2265 {_EDGES_MBPS[-1]:g}"
    return f"{_EDGES_MBPS[column - 1]:g}\u2013{_EDGES_MBPS[column]:g}"
