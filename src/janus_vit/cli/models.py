"""`janus-vit models`: list the models by name, with their sizes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from janus_vit.cli.common.console import plain_table, results
from janus_vit.cli.common.options import AsJson
from janus_vit.cli.common.tables import print_table

if TYPE_CHECKING:
    from janus_vit.model.catalog import Entry


def models(as_json: AsJson = False) -> None:
    """List the models that --model takes by name, with their blocks, tokens, width and parameters.

    --model also takes the file or folder of a checkpoint, timm:NAME and
    hf:ORG/NAME.

    \b
    Example:   janus-vit models
    """
    from janus_vit.model.catalog import CATALOG

    rows = [_describe(entry) for entry in CATALOG.values()]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = plain_table("name", "blocks", "tokens", "width", "parameters", "summary")
    table.columns[-1].justify = "left"
    for row in rows:
        numbers = (f"{row[key]:,}" for key in ("blocks", "tokens", "width", "parameters"))
        table.add_row(row["name"], *numbers, row["summary"])
    print_table(results(), table)


def _describe(entry: Entry) -> dict[str, Any]:
    import torch

    with torch.device("meta"):  # shapes without values, because the largest models need gigabytes
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
