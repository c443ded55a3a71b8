"""The figure of the fleet benchmark: right and in time over the number of devices, a panel for each cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

_STYLES = {
    "bound": ("#222222", ":"),
    "adaptive-fleet": ("#0b6e4f", "-"),
    "adaptive": ("#5aa9e6", "-"),
    "janus": ("#9a6fb0", "-"),
    "device-alone": ("#999999", "--"),
    "jpeg-scheduler": ("#f2a541", "-"),
    "jpeg-batches": ("#d1495b", "-"),
}
Curves = Mapping[str, Sequence[tuple[int, float]]]


def draw(panels: Mapping[str, Curves], path: Path) -> None:
    """Write the figure as SVG.

    Args:
        panels: for each cloud, and each contender, number of devices and share that is right and in time.
        path: of the figure.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.6), sharey=True, squeeze=False)
    for axis, (cloud, curves) in zip(axes[0], panels.items(), strict=True):
        for name, points in curves.items():
            colour, style = _STYLES.get(name, ("#000000", "-"))
            axis.plot(*zip(*points, strict=True), style, color=colour, label=name, linewidth=1.8)
        axis.set_xscale("log", base=2)
        axis.set_title(cloud)
        axis.set_xlabel("devices")
        axis.grid(alpha=0.25)
        axis.set_ylim(0, 1)
    axes[0][0].set_ylabel("right and in time")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncol=len(_STYLES), frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
