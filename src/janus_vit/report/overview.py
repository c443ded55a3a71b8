"""Summaries of streams, one row each: as a table for people, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from janus_vit.errors import InputError
from janus_vit.planning.accuracy.points import wilson
from janus_vit.planning.outcome import Outcome
from janus_vit.records.summary import Summary, summarise
from janus_vit.report.page import Table


@dataclass(frozen=True, slots=True)
class Run:
    """One stream of a report.

    Attributes:
        name: name of the stream in the report.
        outcomes: outcomes of its frames, at least one.
        truths: true class of each frame, None where unknown; empty if all are unknown.
        cut_bytes: length of an unfinished last line of the record file, which is left out.
    """

    name: str
    outcomes: Sequence[Outcome]
    truths: Sequence[int | None] = ()
    cut_bytes: int = 0

    @property
    def slas_s(self) -> tuple[float, ...]:
        """All SLAs of the frames, the shortest first."""
        return tuple(sorted({outcome.sla_s for outcome in self.outcomes}))


@dataclass(frozen=True, slots=True)
class Row:
    """A run in numbers. Shares are from 0 to 1; intervals are 95 % Wilson score intervals.

    Attributes:
        run: the stream.
        summary: its metrics.
        late: interval of the summary's violation ratio.
        right: interval of the summary's accuracy; None without truths.
        expected: mean accuracy that the policy expected of the chosen plans; None if it expected none.
        expected_in_time: mean expected accuracy, with 0 for late answers.
    """

    run: Run
    summary: Summary
    late: tuple[float, float]
    right: tuple[float, float] | None
    expected: float | None
    expected_in_time: float | None


def make_row(run: Run) -> Row:
    """Sum up one run.

    Raises:
        InputError: the run has no frame.
    """
    summary = summarise(run.outcomes, run.truths)
    if summary is None:
        raise InputError(f"{run.name}: has no frame: give a stream of at least one")
    known = [outcome for outcome in run.outcomes if outcome.predicted.accuracy is not None]
    accuracies = [outcome.predicted.accuracy or 0.0 for outcome in known]
    return Row(
        run,
        summary,
        _interval(summary.violation_ratio, summary.frames),
        None if summary.accuracy is None else _interval(summary.accuracy, _labelled_frames(run)),
        statistics.fmean(accuracies) if known else None,
        statistics.fmean(share * one.met for share, one in zip(accuracies, known, strict=True)) if known else None,
    )


def as_values(row: Row) -> dict[str, Any]:
    """Return a row as flat values for JSON; the names hold the units."""
    summary, right = row.summary, row.right or (None, None)
    return {
        "name": row.run.name,
        "frames": summary.frames,
        "sla_s": row.run.slas_s[0] if len(row.run.slas_s) == 1 else None,
        "violation_ratio": summary.violation_ratio,
        "violation_low": row.late[0],
        "violation_high": row.late[1],
        "deviation": summary.deviation,
        "mean_s": summary.mean_s,
        "median_s": summary.median_s,
        "p99_s": summary.p99_s,
        "throughput_fps": summary.throughput_fps,
        "mean_bytes": summary.mean_bytes,
        "mean_level": summary.mean_level,
        "accuracy": summary.accuracy,
        "accuracy_low": right[0],
        "accuracy_high": right[1],
        "in_time_accuracy": summary.in_time_accuracy,
        "expected_accuracy": row.expected,
        "expected_in_time_accuracy": row.expected_in_time,
        "image_share": summary.kinds.get("image", 0.0),
        "tokens_share": summary.kinds.get("tokens", 0.0),
        "nothing_share": summary.kinds.get("nothing", 0.0),
        "fallbacks": summary.fallbacks,
        "cut_bytes": row.run.cut_bytes,
    }


def as_csv(rows: Sequence[Row]) -> str:
    """Return all rows as CSV with the keys of `as_values`; a cell is empty if its value is unknown."""
    values = [as_values(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(values[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(values)
    return text.getvalue()


def summary_table(rows: Sequence[Row], first: str = "stream") -> Table:
    """Return all rows as a table for people.

    Columns without any value are left out, and so is the SLA if all runs have the same.

    Args:
        rows: one for each stream.
        first: heading of the first column.
    """
    columns = dict(_COLUMNS)
    if len({row.run.slas_s for row in rows}) == 1:
        del columns[_SLA]
    shown = {name: cell for name, cell in columns.items() if any(cell(row) != "-" for row in rows)}
    return Table((first, *shown), [(row.run.name, *(cell(row) for cell in shown.values())) for row in rows], _CAPTION)


def percent(share: float | None) -> str:
    """Format a share in % with one decimal; a dash for None."""
    return "-" if share is None else f"{100 * share:.1f}"


def milliseconds(seconds: float) -> str:
    """Format seconds as milliseconds with at least three significant digits."""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def sla_of(run: Run) -> str:
    """Format a run's SLA in ms; the shortest and the longest if there are several."""
    ends = dict.fromkeys((run.slas_s[0], run.slas_s[-1]))
    return "\u2013".join(f"{1e3 * sla_s:g}" for sla_s in ends)


def _with_interval(share: float | None, interval: tuple[float, float] | None) -> str:
    if share is None or interval is None:
        return "-"
    return f"{percent(share)}\n{percent(interval[0])}\u2013{percent(interval[1])}"


def _kinds(row: Row) -> str:
    return " / ".join(f"{100 * row.summary.kinds.get(kind, 0.0):.0f}" for kind in ("image", "tokens", "nothing"))


_SLA = "SLA ms"
_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "frames": lambda row: f"{row.summary.frames:,}",
    _SLA: lambda row: sla_of(row.run),
    "late %": lambda row: _with_interval(row.summary.violation_ratio, row.late),
    "median ms": lambda row: milliseconds(row.summary.median_s),
    "p99 ms": lambda row: milliseconds(row.summary.p99_s),
    "frames/s": lambda row: f"{row.summary.throughput_fps:.1f}",
    "deviation %": lambda row: percent(row.summary.deviation),
    "kB/frame": lambda row: f"{row.summary.mean_bytes / 1e3:.1f}",
    "level": lambda row: f"{row.summary.mean_level:.2f}",
    "right %": lambda row: _with_interval(row.summary.accuracy, row.right),
    "right in time %": lambda row: percent(row.summary.in_time_accuracy),
    "expected right %": lambda row: percent(row.expected),
    "sent: image / tokens / nothing %": _kinds,
    "fallbacks": lambda row: f"{row.summary.fallbacks:,}",
}
_CAPTION = (
    "Late: share of frames over the SLA, with its 95 % interval. Deviation: mean of max(0, (latency - SLA) / SLA). "
    "Level: mean pruning level of exponential schedules. Expected right: mean accuracy that the policy expected of the "
    "chosen plans, from its accuracy table. Sent: what the plans send over the network. Fallbacks: frames that the "
    "device finished itself because the cloud did not answer in time."
)


def _labelled_frames(run: Run) -> int:
    """Count the frames with a known true class whose answer has a class."""
    pairs = zip(run.outcomes, run.truths, strict=False)
    return sum(truth is not None and bool(outcome.answer.classes) for outcome, truth in pairs)


def _interval(share: float, frames: int) -> tuple[float, float]:
    return wilson(round(share * frames), frames)
