"""A map of what is chosen where, as an SVG element. Plain data in; knows nothing of records or models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from janus_vit.report.canvas import GRID, INK, KINDS, as_svg, drawing, legend_above, listed

_ON_KINDS, _SELDOM = "#141b24", "#e6e9ed"  # text on their colours, and what these fade to; on any ground


@dataclass(frozen=True, slots=True)
class Choice:
    """One cell of a map of choices.

    Attributes:
        kind: one of `canvas.KINDS`. text: what was chosen. share: how often, of all frames of the cell.
    """

    kind: str
    text: str
    share: float = 1.0


def heatmap(
    columns: Sequence[str], rows: Sequence[str], cells: Sequence[Sequence[Choice | None]], title: str, xlabel: str = ""
) -> str:
    """What is chosen where: colour by what crosses the network, paler where it is chosen less often.

    Args:
        cells: one row of them for each of `rows`, one cell for each of `columns`; None where nothing was seen.
    """
    with drawing(1.15 + 0.52 * len(rows)) as (figure, axes):
        from matplotlib.patches import FancyBboxPatch, Patch

        for y, row in enumerate(cells):
            for x, cell in enumerate(row):
                face = GRID if cell is None else _paler(KINDS[cell.kind], cell.share)
                corner, shape = (x + 0.03, y + 0.06), "round,pad=0,rounding_size=0.06"
                patch = FancyBboxPatch(
                    corner, 0.94, 0.88, shape, facecolor=face, alpha=0.45 if cell is None else 1, linewidth=0
                )
                axes.add_patch(patch)
                if cell is not None:
                    axes.text(
                        x + 0.5,
                        y + 0.5,
                        cell.text,
                        ha="center",
                        va="center",
                        color=_ON_KINDS,
                        fontsize=7.5,
                        linespacing=1.25,
                    )
        axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0), title=title, xlabel=xlabel)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.tick_params(length=0)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        legend_above(axes, [Patch(facecolor=colour, label=kind) for kind, colour in KINDS.items()])
        return as_svg(figure, f"{title}: {listed(rows)}")


def _paler(colour: str, share: float) -> str:
    """A colour, the nearer to `_SELDOM` the smaller the share."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (
        share * full + (1 - share) * pale for full, pale in zip(to_rgb(colour), to_rgb(_SELDOM), strict=True)
    )
    return to_hex((red, green, blue))
