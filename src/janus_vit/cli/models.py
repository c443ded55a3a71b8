"""`janus-vit models`: what can be run, and how large it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from janus_vit.cli.common.console import plain_table, results
from janus_vit.cli.common.options import AsJson

if TYPE_CHECKING:
    from janus_vit.model.catalog import Entry


def models(as_json: AsJson = False) -> None:
    """List the models that --model takes by name.

    \b
    Example:   janus-vit models
    """
    from janus_vit.model.catalog import CATALOG

    rows = [_facts(entry) for entry in CATALOG.values()]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = plain_table("name", "blocks", "tokens", "width", "parameters", "summary")
    table.columns[-1].justify = "left"
    for row in rows:
        numbers = (f"{row[key]:,}" for key in ("blocks", "tokens", "width", "parameters"))
        table.add_row(row["name"], *numbers, row["summary"])
    results().print(table)


def _facts(entry: Entry) -> dict[str, Any]:
    import torch

    with torch.device("meta"):  # shapes without numbers: the largest models would fill gigabytes
        model = entry.load()
    shape = model.shape
    return {
        "name": entry.name,
        "summary": entry.summary,
        "blocks": shape.blocks,
        "tokens": shape.tokens,
        "width": shape.width,
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
    }
