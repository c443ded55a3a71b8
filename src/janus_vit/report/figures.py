"""Figures as SVG elements: distributions, accuracy over latency, predicted against measured, and bars.

They take plain data in seconds, Mbps and shares from 0 to 1, and know nothing of records or models.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from janus_vit.report.canvas import (
    INK,
    LATE,
    MUTED,
    PANEL,
    as_svg,
    colours_of,
    crowded,
    drawing,
    legend_below,
    line_styles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHORTEST_S = 1e-5  # shorter times are drawn as this on a logarithmic axis


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A point in a figure of accuracy over latency.

    Attributes:
        name: points of the same name have the same colour.
        latency_s: latency.
        accuracy: share from 0 to 1.
        low: lower end of the accuracy's confidence interval, if known.
        high: upper end of the accuracy's confidence interval, if known.
        text: written beside the point if it is on the Pareto front.
        weight: size of the point, from 0 to 1.
    """

    name: str
    latency_s: float
    accuracy: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        value: height.
        low: lower end of the confidence interval, if known.
        high: upper end of the confidence interval, if known.
        reference: value that somebody else reports, if known.
    """

    value: float
    low: float | None = None
    high: float | None = None
    reference: float | None = None


def cdf(
    series_s: Mapping[str, Sequence[float]], slas_s: Collection[float] = (), colours: Mapping[str, str] | None = None
) -> str:
    """Draw the distribution of latency: the cumulative share on the left, the share of slower frames on the right.

    Args:
        series_s: latencies by name, at least one each.
        slas_s: deadlines to mark.
        colours: colour of each name; default: `colours_of` the names.
    """
    colours = {name: (colours or colours_of(series_s))[name] for name in series_s}
    styles = line_styles(colours)
    with drawing(3.7, ncols=2) as (figure, (cumulative, tail)):
        for name, values_s in series_s.items():
            ordered_ms = 1e3 * np.sort(np.asarray(values_s, float))
            at_most = np.arange(1, len(ordered_ms) + 1) / len(ordered_ms)
            look: dict[str, Any] = {"color": colours[name], "linestyle": styles[name], "linewidth": 1.7}
            cumulative.step(ordered_ms, 100 * at_most, where="post", label=name, **look)
            tail.step(ordered_ms, 100 * (at_most[::-1]), where="pre", **look)
        shown_ms = max([1e3 * float(np.percentile(values_s, 98)) for values_s in series_s.values()])
        shown_ms = 1.12 * max([shown_ms, *(1e3 * sla_s for sla_s in slas_s)])
        cumulative.set(xlim=(0, shown_ms), ylim=(0, 102), title="Frames answered within a time", ylabel="% of frames")
        tail.set(title="Frames that take longer", xscale="log", yscale="log", ylabel="% of frames", ylim=(None, 115))
        for axes, height in ((cumulative, 0.03), (tail, 0.94)):  # where no lines are
            axes.set_xlabel("latency, ms")
            for sla_s in sorted(set(slas_s)):
                _mark_sla(axes, sla_s, height)
        _plain_log_axes(tail)
        legend_below(figure, cumulative.get_legend_handles_labels()[0])
        return as_svg(figure, f"Distribution of latency of {', '.join(series_s)}")


def pareto(
    points: Sequence[ParetoPoint], title: str, xlabel: str, ylabel: str, colours: Mapping[str, str] | None = None
) -> str:
    """Draw accuracy over latency, and the Pareto front: points that no other beats in both.

    Args:
        points: what to draw.
        title: above the axes.
        xlabel: name of the horizontal axis.
        ylabel: name of the vertical axis.
        colours: colour of each name; default: `colours_of` the names.
    """
    names = list(dict.fromkeys(point.name for point in points))
    colours = colours or colours_of(names)
    with drawing(4.0) as (figure, axes):
        front = pareto_front(points)
        for name in names:
            mine = [point for point in points if point.name == name]
            for point in mine:
                if point.low is not None and point.high is not None:
                    ends = [100 * point.low, 100 * point.high]
                    axes.plot([1e3 * point.latency_s] * 2, ends, color=colours[name], linewidth=1.3, alpha=0.6)
            axes.scatter(
                [1e3 * point.latency_s for point in mine],
                [100 * point.accuracy for point in mine],
                [18 + 70 * point.weight for point in mine],
                color=colours[name],
                edgecolor=PANEL,
                linewidth=0.8,
                label=name,
                zorder=3,
            )
        axes.margins(x=0.09, y=0.16)
        axes.set_ylim(top=min(axes.get_ylim()[1], 101))
        at_ms = [*(1e3 * point.latency_s for point in front), axes.set_xlim()[1]]
        shares = [100 * point.accuracy for point in (*front, front[-1])]
        axes.step(at_ms, shares, where="post", color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)), label="Pareto front")
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        _write_texts(axes, front)
        figure.legend(loc="outside right center", labelspacing=0.8)
        return as_svg(figure, f"{title}: {', '.join(names)}")


def pareto_front(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """Return the points that no other beats in both latency and accuracy, fastest first."""
    best: list[ParetoPoint] = []
    for point in sorted(points, key=lambda point: (point.latency_s, -point.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def predicted_measured(
    parts: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    colours: Mapping[str, str] | None = None,
) -> str:
    """Draw predicted against measured times, one panel for each part of a frame.

    Args:
        parts: part -> name -> predicted and measured seconds of the same frames. A name without frames may be left out.
        colours: colour of each name; default: `colours_of` the names.
    """
    names = list(dict.fromkeys(name for series in parts.values() for name in series))
    colours = colours or colours_of(names)
    with drawing(3.3, ncols=len(parts), squeeze=False) as (figure, rows):
        for axes, (part, series) in zip(rows[0], parts.items(), strict=True):
            pairs = {name: 1e3 * np.maximum(np.array(both, float), _SHORTEST_S) for name, both in series.items()}
            values = np.concatenate([both.ravel() for both in pairs.values()]) if pairs else np.array([1.0, 10.0])
            ends = np.array([values.min() / 1.25, values.max() * 1.25])
            axes.fill_between(ends, 0.8 * ends, 1.25 * ends, color=MUTED, alpha=0.13, linewidth=0)
            axes.plot(ends, ends, color=MUTED, linewidth=0.9)
            for name, (predicted_ms, measured_ms) in pairs.items():
                look = {"color": colours[name], "alpha": 0.55, "linewidth": 0, "rasterized": crowded(len(measured_ms))}
                axes.scatter(predicted_ms, measured_ms, 9, **look)
            axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, title=part, xlabel="predicted, ms")
            axes.set_box_aspect(1)
            _plain_log_axes(axes)
        rows[0][0].set_ylabel("measured, ms")
        legend_below(figure, [_dot(colours[name], name) for name in names])
        return as_svg(figure, f"Predicted and measured {', '.join(parts)} of {', '.join(names)}")


def bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Bar | None]],
    title: str,
    ylabel: str,
    reference: str = "published",
    colours: Mapping[str, str] | None = None,
) -> str:
    """Draw bars in groups, with confidence intervals, and with marks for values that somebody else reports.

    Args:
        groups: names of the groups.
        series: name -> one bar for each group; None leaves a gap.
        title: above the axes.
        ylabel: name of the vertical axis.
        reference: name of the marks.
        colours: colour of each name; default: `colours_of` the names.
    """
    colours = colours or colours_of(series)
    wide = 0.8 / max(1, len(series))
    count = len(groups) * len(series)
    with drawing(3.7) as (figure, axes):
        for index, (name, values) in enumerate(series.items()):
            for group, bar in enumerate(values):
                if bar is not None:
                    _draw_bar(axes, group - 0.4 + (index + 0.5) * wide, wide, bar, colours[name], count <= 32)
        axes.set(title=title, ylabel=ylabel, xlim=(-0.55, len(groups) - 0.45))
        axes.set_xticks(range(len(groups)), groups)
        axes.tick_params(axis="x", length=0, labelcolor=INK)
        axes.grid(False, axis="x")
        axes.margins(y=0.12)
        handles = [_dot(colours[name], name, "s") for name in series]
        if any(bar and bar.reference is not None for values in series.values() for bar in values):
            handles.append(_dot(INK, reference, "D"))
        legend_below(figure, handles)
        return as_svg(figure, f"{title}: {', '.join(series)} for {', '.join(groups)}")


def _draw_bar(axes: Axes, x: float, wide: float, bar: Bar, colour: str, labelled: bool) -> None:
    axes.bar(x, bar.value, 0.88 * wide, color=colour, linewidth=0)
    top = bar.value
    if bar.low is not None and bar.high is not None:
        axes.plot([x, x], [bar.low, bar.high], color=INK, linewidth=1.1, alpha=0.75)
        top = max(top, bar.high)
    if bar.reference is not None:
        axes.plot([x], [bar.reference], color=INK, marker="D", markersize=4, markeredgecolor=PANEL, markeredgewidth=0.7)
        top = max(top, bar.reference)
    if labelled:
        beside: dict[str, Any] = {
            "xytext": (0, 4),
            "textcoords": "offset points",
            "ha": "center",
            "fontsize": 7.5,
            "color": MUTED,
        }
        axes.annotate(f"{bar.value:.3g}", (x, top), **beside)


def _write_texts(axes: Axes, front: Sequence[ParetoPoint]) -> None:
    """Write the texts of the front's points where there is room."""
    last = -np.inf
    for point in front:
        at = (1e3 * point.latency_s, 100 * point.accuracy)
        x = float(axes.transData.transform(at)[0])
        if point.text and x - last > 95:
            axes.annotate(point.text, at, (0, 9), textcoords="offset points", ha="center", fontsize=7.5, color=MUTED)
            last = x


def _mark_sla(axes: Axes, sla_s: float, height: float) -> None:
    axes.axvline(1e3 * sla_s, color=LATE, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1)
    note = f"SLA {1e3 * sla_s:g} ms"
    place: dict[str, Any] = {"textcoords": "offset points", "color": LATE, "fontsize": 7.5}
    axes.annotate(note, (1e3 * sla_s, height), (4, 0), xycoords=axes.get_xaxis_transform(), **place)


def _plain_log_axes(axes: Axes) -> None:
    """Label logarithmic axes with a few plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            few, more, many = (1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
            steps = few if high / low > 200 else more if high / low > 8 else many
            axis.set_major_locator(LogLocator(subs=steps, numticks=15))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())


def _dot(colour: str, name: str, marker: str = "o") -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker, markersize=6, linewidth=0, label=name)
