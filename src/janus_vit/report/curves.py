"""A line chart as an SVG element. Takes plain data; knows nothing of records or models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from janus_vit.report.canvas import LATE, MUTED, as_svg, colours_of, drawing, line_styles


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    xlabel: str,
    ylabel: str,
    limit: float | None = None,
    log_x: bool = True,
    colours: Mapping[str, str] | None = None,
) -> str:
    """Draw one line for each name.

    Args:
        series: name -> x and y values.
        title: above the axes.
        xlabel: name of the horizontal axis.
        ylabel: name of the vertical axis.
        limit: drawn as a horizontal line, such as an SLA.
        log_x: whether the horizontal axis is logarithmic.
        colours: colour of each name; default: `colours_of` the names.
    """
    colours = colours or colours_of(series)
    styles = line_styles({name: colours[name] for name in series})
    with drawing(3.4) as (figure, axes):
        for name, (x, y) in series.items():
            axes.plot(x, y, color=colours[name], linestyle=styles[name], linewidth=1.7, label=name)
        if limit is not None:
            axes.axhline(limit, color=LATE, linewidth=1.0, linestyle=(0, (4, 2)))
        if log_x:
            from matplotlib.ticker import FuncFormatter

            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        axes.tick_params(labelcolor=MUTED)
        figure.legend(loc="outside right center", labelspacing=0.8)
        return as_svg(figure, f"{title}: {', '.join(series)}")
