"""One HTML file of sections, with everything inside it. Knows nothing of records, policies or how figures are drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from janus_vit import __version__
from janus_vit.planning.jsonfile import write_text

_TEMPLATE = "report.html"
_NUMBER = re.compile(r"~?[+-]?\d|-?$")  # a number with anything behind it, or a dash where there is none


@dataclass(frozen=True, slots=True)
class Table:
    """Text in cells. A column whose cells all begin with a number is aligned right and sorts by it; further lines of
    such a cell are smaller, such as an interval below its value.

    Attributes:
        header: names of the columns. rows: as many cells each. caption: a line below, none if empty.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether it holds numbers; the first one names the row."""
        columns = range(len(self.header))
        return tuple(index > 0 and all(_NUMBER.match(row[index]) for row in self.rows) for index in columns)


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a page, shown in this order.

    Attributes:
        title: also in the table of contents.
        text: plain text; an empty line begins a new paragraph.
        figures: SVG or HTML, inserted as it stands: who makes it escapes what others wrote.
        tables: below them.
    """

    title: str
    text: str = ""
    figures: Sequence[str] = ()
    tables: Sequence[Table] = ()


def render_page(title: str, intro: str, sections: Sequence[Section]) -> str:
    """The page as HTML, which is well-formed XML too; the same input gives the same text."""
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
    """Write one HTML file that needs no other.

    Args:
        title: of the page. intro: plain text below it, as in `Section.text`.

    Raises:
        InputError: the path cannot be written.
    """
    write_text(path, render_page(title, intro, sections))


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
