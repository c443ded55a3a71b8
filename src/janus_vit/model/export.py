"""The device's part of a model as an ONNX file, for runtimes that we do not ship. Needs the extra `janus-vit[onnx]`."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from janus_vit.errors import InputError
from janus_vit.model import stage
from janus_vit.model.catalog import Model
from janus_vit.model.vit import VisionTransformer
from janus_vit.planning.schedules import make_schedule

PACKAGES = ("onnx", "onnxscript")
_OPSET = 18  # TensorRT 10, ONNX Runtime 1.14 and newer
_LARGEST_BYTES = 2**31 - 2**26  # a message of protobuf, less what is not weights


class DevicePart(nn.Module):
    """Pixels [B, *input_shape] to what crosses the split: tokens [B, T, C] and sizes [B, T]; logits after the last."""

    def __init__(self, network: VisionTransformer, split: int, merges: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.split, self.merges = network, split, merges

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        blocks = len(self.merges)
        start = stage.embed(self.network, pixels, self.merges, "")
        reached = stage.run_blocks(self.network, start, min(self.split, blocks))
        if self.split > blocks:
            return (stage.head(self.network, reached),)
        return reached.tokens, reached.sizes

    @property
    def outputs(self) -> tuple[str, ...]:
        """Their names."""
        return ("logits",) if self.split > len(self.merges) else ("tokens", "sizes")


def as_onnx(part: nn.Module, input_shape: tuple[int, ...], outputs: tuple[str, ...]) -> torch.onnx.ONNXProgram:
    """A module that takes `pixels` [1, *input_shape] as a graph of fixed shapes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            part,
            (torch.zeros(1, *input_shape),),
            input_names=["pixels"],
            output_names=list(outputs),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program


def export_onnx(model: Model, split: int, level: float, path: Path) -> DevicePart:
    """Write the stem and the blocks before a split, which merge at that level of the exponential schedule.

    One input `pixels` [1, *input_shape], normalised; what comes out is in the file's metadata: the model's
    fingerprint, the split, and the merges of all blocks, those after the split among them. Weights of more than 2 GB
    go into a second file beside it.

    Args:
        split: from 1 to blocks + 1; blocks + 1 is the whole model, whose output is `logits`.

    Raises:
        InputError: no such split or level, onnx is not installed, or the file cannot be written.
    """
    blocks = model.shape.blocks
    if not 1 <= split <= blocks + 1:
        raise InputError(f"split {split} leaves nothing to export: use one from 1 to {blocks + 1}")
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"the export needs {' and '.join(missing)}: pip install 'janus-vit[onnx]'")
    part = DevicePart(model.network, split, make_schedule("exponential", level, model.shape).applied).eval()
    program = as_onnx(part, model.shape.input_shape, part.outputs)
    about = {"fingerprint": model.fingerprint, "model": model.name, "split": split, "merges": part.merges}
    program.model.metadata_props["janus-vit"] = json.dumps(about)
    size_bytes = sum(weight.nbytes for weight in part.network.parameters())
    try:
        program.save(path, external_data=size_bytes > _LARGEST_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another path") from error
    return part
