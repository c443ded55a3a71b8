"""Style of all figures, and matplotlib drawings as SVG elements. The same input gives the same bytes.

A page can show the SVG in a light and in a dark theme, because it sets the figure's colours as CSS variables.
"""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from io import StringIO
from typing import TYPE_CHECKING, Any

from janus_vit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 10.0
INK, MUTED, GRID, PANEL = "#1b2430", "#5c6878", "#e3e7ec", "#ffffff"  # the page may replace these, see _THEME
LATE = "#c8402f"
# Based on the palette of Okabe and Ito, which colour-blind readers can tell apart; legible on light and dark.
_PALETTE = ("#2878b8", "#e08a1e", "#1f9e77", "#c2588f", "#8a6fc9", "#5fb3dd", "#b5a12a", "#7d8896")
_POLICY_COLOURS = {
    "adaptive": "#2878b8",
    "janus": "#e08a1e",
    "cloud-jpeg": "#1f9e77",
    "cloud-only": "#c2588f",
    "split-only": "#8a6fc9",
    "adaptive, private": "#5fb3dd",
    "mixed": "#b5a12a",
    "device-only": "#7d8896",
    # A variant has a shade of its policy's colour.
    "janus-compact": "#c26a12",
    "janus-all": "#f0b469",
    "cloud-jpeg75": "#58b99b",
    "cloud-jpeg50": "#93d3bf",
    "oracle": "#4a5461",
    "best-fixed": "#5f9ed1",
}
PAYLOAD_COLOURS = {"image": "#e0a03c", "tokens": "#6f9ad6", "nothing": "#a9b3bf"}  # by what a frame sent
_THEME = {INK: "ink", MUTED: "muted", GRID: "grid", PANEL: "panel"}  # colour -> CSS variable of the page
_CROWDED = 2000  # from this number of marks on, a bitmap inside the SVG takes fewer bytes than the marks
_LEGEND_LETTERS = 140  # number of marks that fit into the width of a figure
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so the layout does not depend on the machine
    "font.size": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "savefig.dpi": 160,  # resolution of bitmaps for crowded marks
    "svg.fonttype": "none",
    "svg.hashsalt": "janus-vit",
    "text.color": INK,
    "text.parse_math": False,  # names may contain a $
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 8.0,
}
_LINE_STYLE = "stroke-linejoin: round; stroke-linecap: butt"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Choose a colour for each name: the policy's own colour, or the next free one of the palette.

    Pass all names of a page at once, so that each keeps its colour in every figure. After eight colours, they repeat.
    """
    names = list(dict.fromkeys(names))
    taken = {_POLICY_COLOURS[name] for name in names if name in _POLICY_COLOURS}
    free = [colour for colour in _PALETTE if colour not in taken] or list(_PALETTE)
    others = [name for name in names if name not in _POLICY_COLOURS]
    chosen = {name: free[index % len(free)] for index, name in enumerate(others)}
    return {name: _POLICY_COLOURS.get(name) or chosen[name] for name in names}


def line_styles(colours: Mapping[str, str]) -> dict[str, Any]:
    """Choose a line style for each name: solid, or dashed if an earlier name has the same colour."""
    styles, seen = {}, dict.fromkeys(colours.values(), 0)
    for name, colour in colours.items():
        styles[name] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))[seen[colour] % 3]
        seen[colour] += 1
    return styles


def crowded(marks: int) -> bool:
    """Return whether that many marks should be drawn as a bitmap; for matplotlib's `rasterized`."""
    return marks > _CROWDED


def check_figures() -> None:
    """Require matplotlib; call it before anything slow begins.

    Raises:
        InputError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise InputError("figures need matplotlib: pip install 'janus-vit[report]'")


@contextmanager
def drawing(height_in: float, **layout: Any) -> Iterator[tuple[Figure, Any]]:
    """Yield a figure as wide as the page, and its axes; the style holds inside the `with` block.

    Args:
        height_in: height of the figure in inches.
        layout: arguments of matplotlib's `Figure.subplots`.

    Raises:
        InputError: matplotlib is not installed.
    """
    check_figures()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from")  # the browser draws the text, and has more fonts
        from matplotlib import rcdefaults, rcParams

        rcdefaults()  # ignore the user's matplotlibrc
        rcParams.update(_STYLE)
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        yield figure, figure.subplots(**layout)


def as_svg(figure: Figure, label: str) -> str:
    """Return a figure as an SVG element, with text as text, the page's colours and no date or version.

    Args:
        figure: the drawn figure.
        label: describes the figure to screen readers.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    written = StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.set_dpi(_STYLE["savefig.dpi"])
    canvas = FigureCanvasSVG(figure)  # savefig gives the same, and draws twice
    canvas.print_svg(written, metadata=no_metadata)  # type: ignore[no-untyped-call]
    root = ElementTree.fromstring(_NOT_XML.sub("\ufffd", written.getvalue()))
    salt = sha256(written.getvalue().encode("utf-8", "replace")).hexdigest()[:8]  # makes ids unique on a page
    for element in root.iter():
        _clean(element, salt)
    # A style element would apply to the whole page.
    styles = [part for part in root.findall("defs") if part.find("style") is not None]
    for part in (*root.findall("metadata"), *styles):
        root.remove(part)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"xmlns": _SVG[1:-1], "viewBox": box, "style": _LINE_STYLE, "role": "img"})
    root.set("aria-label", _NOT_XML.sub("\ufffd", label))
    return ElementTree.tostring(root, encoding="unicode")


def legend_above(axes: Axes, handles: Sequence[Any] | None = None) -> None:
    """Draw a legend in one line above the axes, at the right; of all labelled marks if `handles` is None."""
    if handles is None:
        handles = axes.get_legend_handles_labels()[0]
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(handles),
        borderaxespad=0.3,
        columnspacing=1.3,
        handlelength=1.3,
        handletextpad=0.5,
    )


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """Draw a legend below all axes, in as many columns as fit."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), _LEGEND_LETTERS // (longest + 6)))
    look: dict[str, Any] = {"columnspacing": 1.5, "handlelength": 1.4, "handletextpad": 0.5}
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **look)


def _clean(element: ElementTree.Element, salt: str) -> None:
    """Remove the namespace, make ids unique with the salt, and replace colours by the page's CSS variables."""
    element.tag = element.tag.removeprefix(_SVG)
    if element.tag in ("g", "svg"):
        element.attrib.pop("id", None)  # matplotlib's names of its parts; nothing refers to them
    elif "id" in element.attrib:
        element.set("id", salt + element.attrib["id"])
    if _LINK in element.attrib:
        target = element.attrib.pop(_LINK)
        element.set("href", f"#{salt}{target[1:]}" if target.startswith("#") else target)
    if "clip-path" in element.attrib:
        element.set("clip-path", element.attrib["clip-path"].replace("#", f"#{salt}"))
    style = element.get("style")
    if style is not None:
        for colour, name in _THEME.items():
            style = style.replace(colour, f"var(--{name}, {colour})")
        element.set("style", style)
