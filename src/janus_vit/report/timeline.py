"""A stream over time as an SVG element: bandwidth, pruning, split point, payload and latency. Takes plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from janus_vit.report.canvas import INK, LATE, MUTED, PANEL, PAYLOAD_COLOURS, as_svg, crowded, drawing, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHTS = (1.5, 0.8, 1.0, 0.22, 1.7)  # relative heights of the panels
_LINK = "#2878b8"
_WIDE_RANGE = 30.0  # the axis is logarithmic if the fastest transfer is that many times as fast as the slowest
_SLOWEST_MBPS = 0.01  # slower rates are drawn as this on a logarithmic axis


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of a link.

    Attributes:
        at_s: time of each rate.
        mbps: rate in 10^6 bit/s.
        reached: whether the transfer reached the rate; False makes it an upper bound. Empty: all did.
    """

    at_s: Sequence[float]
    mbps: Sequence[float]
    reached: Sequence[bool] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream. Sequences hold one value for each frame, except in `observed` and `trace`.

    Attributes:
        name: name of the stream.
        at_s: when the frame began, in ascending order.
        sla_s: time allowed.
        total_s: time taken.
        merging: how much was merged, in the unit of `merging_label`.
        merging_label: what `merging` counts.
        splits: blocks on the device.
        blocks: blocks of the model.
        kinds: what was sent; keys of `canvas.PAYLOAD_COLOURS`.
        finished_here: whether the device finished the frame because the cloud did not answer.
        observed: rates of the transfers.
        trace: true rate of the link; each holds until the next.
    """

    name: str
    at_s: Sequence[float]
    sla_s: Sequence[float]
    total_s: Sequence[float]
    merging: Sequence[float]
    merging_label: str
    splits: Sequence[int]
    blocks: int
    kinds: Sequence[str]
    finished_here: Sequence[bool]
    observed: Rates
    trace: Rates | None = None


def timeline(stream: Stream) -> str:
    """Draw one panel each for bandwidth, pruning, split point, payload and latency, over a common time axis."""
    with drawing(6.4, nrows=5, sharex=True, height_ratios=_HEIGHTS) as (figure, panels):
        bandwidth, merging, split, payload, latency = panels
        end_s = stream.at_s[-1] + stream.total_s[-1]
        _draw_bandwidth(bandwidth, stream)
        _draw_steps(merging, stream, stream.merging, stream.merging_label)
        merging.set_ylim(0, max(1.15 * max(stream.merging), 0.1))
        _draw_steps(split, stream, stream.splits, "split point")
        split.set_ylim(-0.06 * stream.blocks, 1.06 * (stream.blocks + 1))
        split.set_yticks([0, stream.blocks // 2, stream.blocks + 1], ["0", f"{stream.blocks // 2}", "device"])
        _draw_kinds(payload, stream, end_s)
        _draw_latency(latency, stream)
        latency.set(xlabel="time, s", xlim=(stream.at_s[0], end_s))
        for axes in panels:
            axes.tick_params(axis="x", length=0)
            axes.yaxis.label.set(rotation=0, ha="right", va="center")
        figure.align_ylabels(panels)
        return as_svg(figure, f"{stream.name} over time: bandwidth, pruning, split point, payload and latency")


def _draw_bandwidth(axes: Axes, stream: Stream) -> None:
    observed, trace = stream.observed, stream.trace
    mbps, at_s = np.asarray(observed.mbps, float), np.asarray(observed.at_s, float)
    reached = np.asarray(observed.reached or [True] * len(mbps), bool)
    seen = mbps[mbps > 0]
    wide = len(seen) > 0 and seen.max() / seen.min() > _WIDE_RANGE
    if wide:
        axes.set_yscale("log")
        mbps = np.maximum(mbps, _SLOWEST_MBPS)
    if trace is not None:
        true = np.maximum(trace.mbps, _SLOWEST_MBPS if wide else 0.0)
        look: dict[str, Any] = {"color": MUTED, "linewidth": 1.0, "label": "true rate"}
        axes.step(trace.at_s, true, where="post", zorder=1, **look)
        if wide and len(seen):
            axes.set_ylim(bottom=max(_SLOWEST_MBPS, float(seen.min()) / 3))
    large = crowded(len(mbps))
    if reached.any():
        axes.scatter(at_s[reached], mbps[reached], 8, color=_LINK, linewidth=0, label="transfer", rasterized=large)
    if not reached.all():
        look = {"facecolor": "none", "edgecolor": LATE, "linewidth": 0.9, "rasterized": large}
        axes.scatter(at_s[~reached], mbps[~reached], 16, marker="v", label="abandoned: upper bound", **look)
    if not wide:
        axes.set_ylim(bottom=0)
    _plain_numbers(axes)
    axes.set(ylabel="bandwidth,\nMbps", title=stream.name)
    if axes.get_legend_handles_labels()[0]:
        legend_above(axes)
    if not len(mbps):
        note: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": MUTED}
        axes.text(0.5, 0.5, "nothing was sent", **note)
        axes.set_yticks([])


def _draw_steps(axes: Axes, stream: Stream, values: Sequence[float], label: str) -> None:
    look: dict[str, Any] = {"color": INK, "linewidth": 1.1, "alpha": 0.8, "rasterized": crowded(len(values))}
    axes.step(stream.at_s, values, where="post", **look)
    axes.set_ylabel(label.replace(" ", "\n", 1))


def _draw_kinds(axes: Axes, stream: Stream, end_s: float) -> None:
    """Draw one strip. Neighbouring frames of the same kind are one piece."""
    from matplotlib.patches import Patch

    starts = [index for index, kind in enumerate(stream.kinds) if index == 0 or kind != stream.kinds[index - 1]]
    edges_s = [*(stream.at_s[index] for index in starts), end_s]
    for kind in PAYLOAD_COLOURS:
        pieces = [
            (edges_s[piece], edges_s[piece + 1] - edges_s[piece])
            for piece, index in enumerate(starts)
            if stream.kinds[index] == kind
        ]
        axes.broken_barh(pieces, (0, 1), facecolor=PAYLOAD_COLOURS[kind], linewidth=0, rasterized=crowded(len(starts)))
    axes.set(ylim=(0, 1), yticks=[], ylabel="payload")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    used = [kind for kind in PAYLOAD_COLOURS if kind in stream.kinds]
    legend_above(axes, [Patch(facecolor=PAYLOAD_COLOURS[kind], label=kind) for kind in used])


def _draw_latency(axes: Axes, stream: Stream) -> None:
    """Draw dots, late ones in another colour; dots far above the rest become triangles at the upper edge."""
    at_s, total_ms, sla_ms = np.asarray(stream.at_s), 1e3 * np.asarray(stream.total_s), 1e3 * np.asarray(stream.sla_s)
    usual_ms = max(2.2 * sla_ms.max(), 1.1 * float(np.percentile(total_ms, 97)))
    top_ms = min(1.12 * max(float(total_ms.max()), float(sla_ms.max())), usual_ms)
    late, above, here = total_ms > sla_ms, total_ms > top_ms, np.asarray(stream.finished_here, bool)
    large = crowded(len(at_s))
    for mask, colour, label in ((~late, "#6d8096", "in time"), (late, LATE, "late")):
        inside = mask & ~above
        look: dict[str, Any] = {"color": colour, "linewidth": 0, "rasterized": large}
        if mask.any():
            axes.scatter(at_s[inside], total_ms[inside], 11, label=label, **look)
    if above.any():
        look = {"color": LATE, "edgecolor": PANEL, "linewidth": 0.4, "rasterized": large, "clip_on": False}
        axes.scatter(at_s[above], np.full(int(above.sum()), top_ms), 26, marker="^", label="later", zorder=4, **look)
    if here.any():
        look = {"facecolor": "none", "edgecolor": INK, "linewidth": 0.7, "rasterized": large, "clip_on": False}
        axes.scatter(at_s[here], np.minimum(total_ms, top_ms)[here], 34, label="finished on the device", **look)
    axes.step(at_s, sla_ms, where="post", color=LATE, linewidth=1.0, linestyle=(0, (4, 2)), label="SLA", zorder=1)
    axes.set(ylim=(0, top_ms), ylabel="latency,\nms")
    legend_above(axes)


def _plain_numbers(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
