"""`janus-vit export`: write the device's part of a model as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus_vit.cli.common.console import messages, say
from janus_vit.cli.common.loading import ArchitectureName, ImageSize, Task, load_model_for_task
from janus_vit.cli.common.options import DEFAULT_MODEL, ModelName, check_not_input


def export(
    split: Annotated[
        int,
        typer.Option(
            "--split",
            metavar="S",
            help="Number of blocks that run on the device. One more than the model has exports the whole model.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Path of the new ONNX file.")],
    level: Annotated[
        float, typer.Option("--level", metavar="L", help="Pruning level of token merging. 0 merges nothing.")
    ] = 0.0,
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
    architecture: ArchitectureName = None,
) -> None:
    """Export the device's part of a model as ONNX: the stem and the blocks up to a split, with token merging.

    Use it on a device whose runtime is TensorRT, ONNX Runtime or OpenVINO.

    \b
    Example:   janus-vit export --split 6 --level 0.2 --out device.onnx
    """
    from janus_vit.model.export import export_onnx

    check_not_input(out, model)
    part = export_onnx(load_model_for_task(model, task, image_size, architecture), split, level, out)
    say(messages(), f"written to {out}: pixels to {' and '.join(part.outputs)}")
