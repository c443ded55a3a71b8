"""Draw the measured accuracy of the built-in models: docs/accuracy-NAME.png.

    python scripts/plot_accuracy.py

Left: accuracy with merging alone, against the share of work that it saves, with one curve per family of schedules.
Right: accuracy with each payload and no merging. Bars are 95 % intervals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from janus_vit.model.catalog import BUILTIN, BUILTIN_VIDEO, load_model
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.payloads import LOCAL

DOCS = Path("docs")


def bars(axes: Axes, at: list[float], points: list[Point], **style: Any) -> None:
    """Plot shares in % with their intervals.

    Args:
        axes: where to plot.
        at: horizontal position of each point.
        points: the measured points.
        style: options of matplotlib's errorbar.
    """
    shares = [100 * point.share for point in points]
    below = [100 * (point.share - point.interval[0]) for point in points]
    above = [100 * (point.interval[1] - point.share) for point in points]
    axes.errorbar(at, shares, yerr=[below, above], capsize=2, **style)


def draw(name: str, table: AccuracyTable, whole: int) -> None:
    """Draw one model's figure.

    Args:
        name: name of the model.
        table: its accuracy table.
        whole: tokens that all blocks process without merging, added up.
    """
    figure, (merging, payloads) = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for family in table.families:
        merged = [point for point in table.points if point.family in (family, "none") and point.payload == LOCAL]
        merged.sort(key=lambda point: point.saved)
        bars(merging, [100 * point.saved / whole for point in merged], merged, marker="o", markersize=3, label=family)
    merging.set(xlabel="% of all blocks' tokens merged away", ylabel=f"% {table.metric}", title=name)
    merging.set_ylim(bottom=max(0.0, 100 * table.points[0].share - 25))
    merging.legend()
    plain = [point for point in table.points if point.saved == 0]
    bars(payloads, list(map(float, range(len(plain)))), plain, fmt="o")
    names = ["lossless" if point.payload == LOCAL else f"{point.payload}\nsplit {point.split}" for point in plain]
    payloads.set_xticks(range(len(plain)), names, rotation=60, fontsize=7)
    payloads.set_title(f"nothing merged, {table.frames} frames")
    figure.savefig(DOCS / f"accuracy-{name}.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Draw both models."""
    plt.switch_backend("agg")
    for name in (BUILTIN, BUILTIN_VIDEO):
        model = load_model(name)
        assert model.accuracy is not None
        draw(name, model.accuracy, model.shape.blocks * model.shape.tokens)


if __name__ == "__main__":
    main()
