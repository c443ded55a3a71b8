"""A heat map of choices as an SVG element. Takes plain data; knows nothing of records or models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from janus_vit.report.canvas import GRID, INK, PAYLOAD_COLOURS, as_svg, drawing, legend_above

_TEXT_COLOUR, _PALE = "#141b24", "#e6e9ed"  # colours of a cell's text and of a rare cell, for both themes


@dataclass(frozen=True, slots=True)
class Choice:
    """One cell of a heat map.

    Attributes:
        kind: what is sent; a key of `canvas.PAYLOAD_COLOURS`.
        text: what was chosen.
        share: share of the cell's frames that chose it, from 0 to 1.
    """

    kind: str
    text: str
    share: float = 1.0


def heatmap(
    columns: Sequence[str], rows: Sequence[str], cells: Sequence[Sequence[Choice | None]], title: str, xlabel: str = ""
) -> str:
    """Draw a heat map: coloured by what is sent, and paler where it is chosen less often.

    Args:
        columns: names of the columns.
        rows: names of the rows.
        cells: for each row, one cell for each column; None where there is no frame.
        title: above the map.
        xlabel: name of the horizontal axis.
    """
    with drawing(1.15 + 0.52 * len(rows)) as (figure, axes):
        from matplotlib.patches import FancyBboxPatch, Patch

        for y, row in enumerate(cells):
            for x, cell in enumerate(row):
                face = GRID if cell is None else _paler(PAYLOAD_COLOURS[cell.kind], cell.share)
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
                        color=_TEXT_COLOUR,
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
        legend_above(axes, [Patch(facecolor=colour, label=kind) for kind, colour in PAYLOAD_COLOURS.items()])
        return as_svg(figure, f"{title}: {', '.join(rows)}")


def _paler(colour: str, share: float) -> str:
    """Fade a colour towards `_PALE` for a small share."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (
        share * full + (1 - share) * pale for full, pale in zip(to_rgb(colour), to_rgb(_PALE), strict=True)
    )
    return to_hex((red, green, blue))
