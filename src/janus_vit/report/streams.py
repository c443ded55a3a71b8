"""Sections of a report about streams: summary, latency, timelines, choices, predictions and accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from janus_vit.errors import InputError
from janus_vit.input_files import real_path
from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.plan import Plan
from janus_vit.records.reader import names_of, read_records
from janus_vit.report.canvas import colours_of
from janus_vit.report.choices import by_plan, choices_section
from janus_vit.report.figures import ParetoPoint, cdf, pareto, predicted_measured
from janus_vit.report.overview import Row, Run, sla_of, summary_table
from janus_vit.report.page import Section, Table
from janus_vit.report.timeline import Rates, Stream, timeline

Progress = Callable[[float, str], None]  # share done 0..1, present step
_PARTS = ("device", "transfer", "cloud", "total")
_MOST_MARKS = 12  # deadlines that a figure can mark
_Pairs = tuple[list[float], list[float]]  # predicted and measured seconds


def _no_progress(share: float, step: str) -> None:
    """Ignore progress."""


def read_runs(paths: Sequence[Path], progress: Progress = _no_progress) -> list[Run]:
    """Read record files; each run gets its file's name.

    Args:
        paths: paths of the files.
        progress: called with the share that is done and the present step.

    Raises:
        InputError: a file is damaged, see `read_records`, or is given twice.
    """
    for index, path in enumerate(paths):
        if real_path(path) in (real_path(earlier) for earlier in paths[:index]):
            raise InputError(f"{path}: is given twice: name each file once")
    runs = []
    for index, (path, name) in enumerate(zip(paths, names_of(paths), strict=True)):
        recording = read_records(path, partial(_part_of, progress, index, len(paths)))
        runs.append(Run(name, recording.outcomes, recording.truths, recording.cut_bytes))
    return runs


def intro(runs: Sequence[Run]) -> str:
    """Return the text below a report's title: number of streams and frames, and lines that were left out."""
    frames = sum(len(run.outcomes) for run in runs)
    streams = "1 stream" if len(runs) == 1 else f"{len(runs)} streams"
    notices = [f"{cut_line_notice(run)}." for run in runs if run.cut_bytes]
    sla = f"SLA {sla_of(runs[0])} ms, " if len({run.slas_s for run in runs}) == 1 else ""
    return "\n\n".join([f"{streams}, {frames:,} frames, {sla}predicted and measured.", *notices])


def cut_line_notice(run: Run) -> str:
    """Return a sentence about the unfinished last line of a run's file, without a full stop."""
    return (
        f"The records of {run.name} end in an unfinished line of {run.cut_bytes} bytes, as after a crash: it is left "
        f"out, the {len(run.outcomes):,} complete lines before it are used"
    )


def report_sections(runs: Sequence[Run], rows: Sequence[Row], progress: Progress = _no_progress) -> list[Section]:
    """Return all sections of a report.

    Args:
        runs: the streams.
        rows: `make_row` of each run.
        progress: called with the share that is done and the present step.

    Raises:
        InputError: matplotlib is not installed.
    """
    colours = colours_of(run.name for run in runs)
    steps: list[tuple[str, Callable[[], Section | None]]] = [
        ("summary", lambda: _summary(rows)),
        ("latency", lambda: _latency(runs, colours)),
        ("over time", lambda: _over_time(runs)),
        ("choices", lambda: choices_section(runs)),
        ("predictions", lambda: _predictions(runs, colours)),
        ("accuracy", lambda: _accuracy(rows, colours)),
    ]
    sections = []
    for index, (name, make) in enumerate(steps):
        progress(index / len(steps), name)
        sections.append(make())
    return [section for section in sections if section is not None]


def stream_of(run: Run, trace: Trace | None = None) -> Stream:
    """Return the data of a run's timeline. Time counts from its first frame.

    Args:
        run: the stream.
        trace: the link's true rate; the trace began when the device's clock was 0.
    """
    outcomes = run.outcomes
    began_s = outcomes[0].at_s
    transfers = [transfer for outcome in outcomes for transfer in outcome.transfers]
    paper_levels = all(outcome.plan.family in ("exponential", "none") for outcome in outcomes)
    return Stream(
        name=run.name,
        at_s=[outcome.at_s - began_s for outcome in outcomes],
        sla_s=[outcome.sla_s for outcome in outcomes],
        total_s=[outcome.measured.total_s for outcome in outcomes],
        merging=[outcome.plan.level if paper_levels else float(sum(outcome.plan.merges)) for outcome in outcomes],
        merging_label="pruning level" if paper_levels else "tokens merged",
        splits=[outcome.plan.split for outcome in outcomes],
        blocks=max(len(outcome.plan.merges) for outcome in outcomes),
        kinds=[outcome.plan.sends for outcome in outcomes],
        finished_here=[outcome.fallback is not None for outcome in outcomes],
        observed=Rates(
            [transfer.at_s - began_s for transfer in transfers],
            [transfer.rate_mbps for transfer in transfers],
            [transfer.delivered for transfer in transfers],
        ),
        trace=None if trace is None else _steps_of(trace, began_s, outcomes[-1].at_s + outcomes[-1].measured.total_s),
    )


def _part_of(progress: Progress, index: int, count: int, share: float, step: str) -> None:
    progress((index + share) / count, step)


def _summary(rows: Sequence[Row]) -> Section:
    return Section("Summary", tables=[summary_table(rows)])


def _latency(runs: Sequence[Run], colours: Mapping[str, str]) -> Section:
    series_s = {run.name: [outcome.measured.total_s for outcome in run.outcomes] for run in runs}
    slas_s = sorted({sla_s for run in runs for sla_s in run.slas_s})
    marked_s = slas_s if len(slas_s) <= _MOST_MARKS else ()
    text = "Left: share of frames answered within a time. Right: share of frames that take longer than a time."
    return Section("Latency", text, [cdf(series_s, marked_s, colours)])


def _over_time(runs: Sequence[Run]) -> Section:
    text = (
        "Bandwidth is the payload's size divided by its sending time, without the round trip. A transfer that was "
        "abandoned gives only an upper bound. Split point: number of blocks that ran on the device; at 0 it sent the "
        "input itself."
    )
    return Section("Over time", text, [timeline(stream_of(run)) for run in runs])


def _predictions(runs: Sequence[Run], colours: Mapping[str, str]) -> Section:
    parts = {part: {run.name: _pairs(run.outcomes, part) for run in runs} for part in _PARTS}
    parts = {part: {name: pairs for name, pairs in series.items() if pairs[0]} for part, series in parts.items()}
    rows = [(run.name, *(_error(series.get(run.name)) for series in parts.values())) for run in runs]
    caption = (
        "Mean absolute error in % of the mean measured time; in brackets the mean error, above 0 if predictions "
        "are too long."
    )
    text = (
        "Predictions of dots on the line were exact; the band is 25 % to either side. Transfer: payload and round "
        "trip. Cloud: decoding, queue and compute. Both include only frames that the cloud answered. Total includes "
        "all frames and counts from capture, so it also holds what is not predicted: waiting, resizing, planning, "
        "outages."
    )
    table = Table(("stream", *(f"{part} %" for part in parts)), rows, caption)
    return Section("Predicted and measured", text, [predicted_measured(parts, colours)], [table])


def _accuracy(rows: Sequence[Row], colours: Mapping[str, str]) -> Section | None:
    figures = []
    labelled = [row for row in rows if row.summary.accuracy is not None and row.right is not None]
    if len(labelled) > 1:
        points = [
            ParetoPoint(row.run.name, row.summary.median_s, row.summary.accuracy or 0.0, *(row.right or ()))
            for row in labelled
        ]
        figures.append(pareto(points, "Streams", "median latency, ms", "right, %", colours))
    plans = [point for row in rows for point in _plan_points(row.run)]
    if plans:
        figures.append(pareto(plans, "Plans that were used", "median latency, ms", "expected right, %", colours))
    if not figures:
        return None
    text = (
        "No other point beats those on the dashed Pareto front in both accuracy and latency. Bars are 95 % intervals "
        "of the measured accuracy. Expected accuracy is the policy's estimate for a plan. Larger dots were used more "
        "often."
    )
    return Section("Accuracy and latency", text, figures)


def _plan_points(run: Run) -> list[ParetoPoint]:
    points = []
    for plan, group in by_plan(run.outcomes).items():
        accuracies = [outcome.predicted.accuracy for outcome in group if outcome.predicted.accuracy is not None]
        if accuracies:
            median_s = statistics.median(outcome.measured.total_s for outcome in group)
            weight = (len(group) / len(run.outcomes)) ** 0.5
            points.append(
                ParetoPoint(run.name, median_s, statistics.fmean(accuracies), text=_short(plan), weight=weight)
            )
    return points


def _short(plan: Plan) -> str:
    """Return a plan in two or three words."""
    where = "device" if plan.is_local else f"{plan.split}: {plan.payload}" if plan.split else plan.payload
    return f"{where}, \u2212{sum(plan.merges)}" if any(plan.merges) else where


def _steps_of(trace: Trace, began_s: float, until_s: float) -> Rates:
    """Return a trace's rates between two times; the trace repeats."""
    steps = np.arange(int(began_s / trace.interval_s), int(until_s / trace.interval_s) + 1)
    return Rates(list(steps * trace.interval_s - began_s), list(trace.mbps[steps % len(trace.mbps)]))


def _pairs(outcomes: Iterable[Outcome], part: str) -> _Pairs:
    """Return predicted and measured seconds of one part, for the frames that have it."""
    predicted, measured = [], []
    for outcome in outcomes:
        expected, real = outcome.predicted, outcome.measured
        answered = not outcome.plan.is_local and outcome.fallback is None
        both = {
            "device": (expected.device_s, real.device_s) if outcome.plan.split else None,
            "transfer": (expected.transfer_s, real.send_s + real.rtt_s) if answered else None,
            "cloud": (
                expected.decode_s + expected.queue_s + expected.cloud_s,
                real.decode_s + real.queue_s + real.cloud_s,
            )
            if answered
            else None,
            "total": (expected.total_s, real.total_s),
        }[part]
        if both is not None:
            predicted.append(both[0])
            measured.append(both[1])
    return predicted, measured


def _error(pairs: _Pairs | None) -> str:
    """Format mean absolute error and mean error, in % of the mean measured time."""
    if pairs is None or not any(pairs[1]):
        return "-"
    predicted, measured = map(np.array, pairs)
    gaps = 100 * (predicted - measured) / measured.mean()
    return f"{np.abs(gaps).mean():,.1f} ({gaps.mean():+,.1f})"
