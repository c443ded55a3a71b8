"""`janus-vit export`: the device's part of a model as a file for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus_vit.cli.common.console import messages, say
from janus_vit.cli.common.loading import ImageSize, Task, load_model_for_task
from janus_vit.cli.common.options import DEFAULT_MODEL, ModelName, check_writable


def export(
    split: Annotated[
        int, typer.Option("--split", metavar="S", help="The last block on the device; one more is the whole model.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the ONNX file is written.")],
    level: Annotated[float, typer.Option("--level", metavar="L", help="Of merging; 0 merges nothing.")] = 0.0,
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
) -> None:
    """Write the stem and the blocks up to a split as ONNX, merging of tokens included.

    \b
    For a device whose runtime is TensorRT, ONNX Runtime or OpenVINO.

    \b
    Example:   janus-vit export --split 6 --level 0.2 --out device.onnx
    """
    from janus_vit.model.export import export_onnx

    check_writable(out)
    part = export_onnx(load_model_for_task(model, task, image_size), split, level, out)
    say(messages(), f"written to {out}: pixels to {' and '.join(part.outputs)}")
