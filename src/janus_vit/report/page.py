"""Writes one self-contained HTML file of sections. Knows nothing of records, policies or drawing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from janus_vit import __version__
from janus_vit.planning.jsonfile import write_text

_TEMPLATE = "report.html"
_NUMBER = re.compile(r"~?[+-]?\d|-?$")  # begins with a number, or is a dash or empty


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    A column is numeric if all of its cells begin with a number. It is aligned right and sorts by that number; further
    lines of its cells are smaller, such as an interval below a value.

    Attributes:
        header: names of the columns.
        rows: one cell for each column.
        caption: text below the table; none if empty.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column is numeric. The first never is, because it names the row."""
        columns = range(len(self.header))
        return tuple(index > 0 and all(_NUMBER.match(row[index]) for row in self.rows) for index in columns)


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a page: title, text, figures, tables, in this order.

    Attributes:
        title: heading, also in the table of contents.
        text: plain text; an empty line begins a new paragraph.
        figures: SVG or HTML, inserted unchanged. The caller must escape foreign text in it.
        tables: tables below the figures.
    """

    title: str
    text: str = ""
    figures: Sequence[str] = ()
    tables: Sequence[Table] = ()


def render_page(title: str, intro: str, sections: Sequence[Section]) -> str:
    """Return the page as HTML that is also well-formed XML. The same input gives the same text.

    Args:
        title: title of the page.
        intro: plain text below the title, as in `Section.text`.
        sections: sections of the page, in order.
    """
    environment = Environment(
        loader=PackageLoader("janus_vit", "data"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["paragraphs"] = _paragraphs
    template = environment.get_template(_TEMPLATE)
    return template.render(title=title, intro=intro, sections=sections, version=__version__)


def write_page(path: Path, title: str, intro: str, sections: Sequence[Section]) -> None:
    """Write the page as one HTML file that needs no other file.

    Args:
        path: path of the new file.
        title: see `render_page`.
        intro: see `render_page`.
        sections: see `render_page`.

    Raises:
        InputError: the path cannot be written.
    """
    write_text(path, render_page(title, intro, sections))


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
