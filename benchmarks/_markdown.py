"""Writes a report's texts and tables as Markdown, for docs/."""

from __future__ import annotations

from collections.abc import Sequence

from _common import commit

from janus_vit.report.page import Section, Table


def markdown(title: str, command: str, intro: str, sections: Sequence[Section]) -> str:
    """Return a report as Markdown, without its figures.

    Args:
        title: of the report.
        command: that makes the report.
        intro: first paragraph.
        sections: in order.
    """
    parts = [f"# {title}", f"Made by `{command}` at commit {commit()}. {intro}"]
    for section in sections:
        if section.text or section.tables:
            parts += [f"## {section.title}", section.text, *map(_table, section.tables)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    rows = [list(table.header), ["---"] * len(table.header), *table.rows]
    lines = ["| " + " | ".join(cell.replace("\n", "<br>") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + (f"\n\n{table.caption}" if table.caption else "")
