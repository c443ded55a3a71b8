"""Draw the share of right answers in time against the deadline, with and without images, from `make honest`.

    python scripts/plot_honest.py      # reads build/honest.csv, writes docs/honest.png

Needs matplotlib, which is in the dev extra.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).parents[1]
SOURCE, OUT = ROOT / "build" / "honest.csv", ROOT / "docs" / "honest.png"
LINES = {
    "oracle": ("#888888", "--"),
    "adaptive": ("#0072b2", "-"),
    "janus": ("#d55e00", "-"),
    "cloud-jpeg": ("#009e73", "-"),
    "split-only": ("#cc79a7", "-"),
    "mixed": ("#e69f00", "-"),
}


def means() -> dict[tuple[bool, str], dict[float, float]]:
    """Read the mean share over links, in %, by (privacy, policy) and by SLA in ms."""
    values: dict[tuple[bool, str, float], list[float]] = defaultdict(list)
    with SOURCE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (float(row["device"]), float(row["cloud"])) == (1.0, 1.0) and "_run" not in row["link"]:
                values[row["private"] == "True", row["policy"], 1e3 * float(row["sla_s"])].append(float(row["value"]))
    found: dict[tuple[bool, str], dict[float, float]] = defaultdict(dict)
    for (private, policy, sla_ms), shares in sorted(values.items()):
        found[private, policy][sla_ms] = 100 * float(np.mean(shares))
    return found


def main() -> None:
    """Draw the figure."""
    found = means()
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 3.6), sharey=True, layout="constrained")
    for axes, private in zip(panels, (False, True), strict=True):
        for policy, (colour, style) in LINES.items():
            if points := found.get((private, policy)):
                axes.plot(
                    list(points), list(points.values()), style, color=colour, label=policy, marker="o", markersize=3
                )
        axes.set_title("pixels stay on the device" if private else "images may be sent", fontsize=10)
        axes.set_xscale("log")
        ticks = sorted({sla_ms for points in found.values() for sla_ms in points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("deadline and camera period, ms")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("right and in time, %, mean over links")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(OUT, dpi=130)
    print(f"written to {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
