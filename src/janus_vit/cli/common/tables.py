"""Print tables on terminals of any width. No cell is cut, whatever the width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

from janus_vit.cli.common.console import plain_table

_GAP = 2  # columns of the terminal between two cells


def print_table(console: Console, table: Table) -> None:
    """Print a table from `plain_table`, whose cells are text.

    Headers and texts wrap at spaces, numbers never do. If not even that fits, rows become columns, as many at a time as
    fit.
    """
    spare = console.width - _GAP * len(table.columns)
    widths = _fitting(
        [_natural(column) for column in table.columns], [_least(column) for column in table.columns], spare
    )
    if widths is None:
        for part in _turned(table, console.width):
            console.print(part)
        return
    for column, width in zip(table.columns, widths, strict=True):
        column.width, column.no_wrap = width, False
    console.print(table)


def _fitting(natural: Sequence[int], least: Sequence[int], spare: int) -> list[int] | None:
    """Widths of columns from `least` to `natural` that add up to at most `spare`; None if there are none."""
    if sum(least) > spare:
        return None
    widths = list(natural)
    while sum(widths) > spare:
        widest = max(range(len(widths)), key=lambda index: widths[index] - least[index])
        widths[widest] -= 1
    return widths


def _natural(column: Column) -> int:
    return max(cell_len(line) for text in _texts(column) for line in text.split("\n"))


def _least(column: Column) -> int:
    """Width at which words of the header stay whole, and lines of numbers and names, too."""
    header, *cells = _texts(column)
    is_whole = column.no_wrap or column.justify == "right"
    pieces = [piece for text in cells for piece in (text.split("\n") if is_whole else text.split())]
    return max((cell_len(piece) for piece in (*header.split(), *pieces)), default=0)


def _texts(column: Column) -> list[str]:
    return [str(column.header), *(str(cell) for cell in column.cells)]


def _turned(table: Table, width: int) -> Iterator[Table]:
    """The same table with its rows as columns, in parts that fit."""
    first, *others = (str(column.header).strip() for column in table.columns)
    labels = [" ".join(header.split()) for header in others]
    rows = list(zip(*(map(str, column.cells) for column in table.columns), strict=True))
    label_width = min(max(map(cell_len, (first, *labels))), width // 3)
    spare = width - label_width - _GAP
    while rows:
        widths = [max(cell_len(line) for cell in row for line in cell.split("\n")) for row in rows]
        fits = sum(used <= spare for used in accumulate(width + _GAP for width in widths))
        taken, rows = rows[: max(fits, 1)], rows[max(fits, 1) :]
        part = plain_table(first, *(row[0] for row in taken))
        for label, *cells in zip(labels, *(row[1:] for row in taken), strict=True):
            part.add_row(label, *cells)
        part.columns[0].width, part.columns[0].no_wrap = label_width, False
        for column, needed in zip(part.columns[1:], widths, strict=False):
            column.width, column.overflow = min(needed, spare - _GAP), "fold"
        yield part
