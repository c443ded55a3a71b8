"""A report's texts and tables as Markdown, to be committed under docs/."""

from __future__ import annotations

from collections.abc import Sequence

from _common import commit

from janus_vit.report.page import Section, Table


def markdown(title: str, command: str, intro: str, sections: Sequence[Section]) -> str:
    """Everything but the figures."""
    parts = [f"# {title}", f"Made by `{command}` at commit {commit()}. {intro}"]
    for section in sections:
        if section.text or section.tables:
            parts += [f"## {section.title}", section.text, *map(_table, section.tables)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    rows = [list(table.header), ["---"] * len(table.header), *table.rows]
    lines = ["| " + " | ".join(cell.replace("\n", "<br>") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + (f"\n\n{table.caption}" if table.caption else "")
