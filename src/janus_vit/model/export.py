"""Export the device's part of a model to ONNX, for other runtimes. Needs the extra `janus-vit[onnx]`."""

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
_LARGEST_BYTES = 2**31 - 2**26  # weights that fit a protobuf message together with the graph


class DevicePart(nn.Module):
    """The part of a model before a split.

    Turns pixels [B, *input_shape] into tokens [B, T, C] and sizes [B, T], and with rotary positions also into the index
    of the token that each patch is in, [B, P]. The whole model turns them into logits.
    """

    def __init__(self, network: VisionTransformer, split: int, merges: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.split, self.merges = network, split, merges

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Run the part; see the class for shapes."""
        blocks = len(self.merges)
        start = stage.embed(self.network, pixels, self.merges, "")
        reached = stage.run_blocks(self.network, start, min(self.split, blocks))
        if self.split > blocks:
            return (stage.head(self.network, reached),)
        places = () if reached.token_of_patch is None else (reached.token_of_patch,)
        return reached.tokens, reached.sizes, *places

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        if self.split > len(self.merges):
            return ("logits",)
        arch = self.network.architecture
        sends_places = arch.reads_grid or (arch.rotary is not None and self.split < arch.depth)
        return ("tokens", "sizes", "token_of_patch") if sends_places else ("tokens", "sizes")


def to_onnx(part: nn.Module, input_shape: tuple[int, ...], outputs: tuple[str, ...]) -> torch.onnx.ONNXProgram:
    """Export a module as a graph of fixed shapes, with one input `pixels` [1, *input_shape]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about itself
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
    """Write the stem and the blocks before a split to an ONNX file.

    The input is `pixels` [1, *input_shape], normalised. The metadata has the model's fingerprint, the split, and the
    merges of all blocks, including those after the split. Weights of more than 2 GB go into a second file beside it.

    Args:
        model: the model to export.
        split: number of blocks to export, from 1; blocks + 1 exports the whole model, whose output is `logits`.
        level: level of the exponential schedule at which the blocks merge.
        path: path of the new file.

    Raises:
        InputError: the split or the level does not exist, onnx is not installed, or the file cannot be written.
    """
    blocks = model.shape.blocks
    if model.network.architecture.is_dense:
        raise InputError(f"model {model.name!r} has a dense head (task {model.task}), which cannot be exported")
    if not 1 <= split <= blocks + 1:
        raise InputError(f"split {split} leaves nothing to export: use one from 1 to {blocks + 1}")
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"the export needs {' and '.join(missing)}: pip install 'janus-vit[onnx]'")
    part = DevicePart(model.network, split, make_schedule("exponential", level, model.shape).applied).eval()
    program = to_onnx(part, model.shape.input_shape, part.outputs)
    about = {"fingerprint": model.fingerprint, "model": model.name, "split": split, "merges": part.merges}
    program.model.metadata_props["janus-vit"] = json.dumps(about)
    size_bytes = sum(weight.nbytes for weight in part.network.parameters())
    try:
        program.save(path, external_data=size_bytes > _LARGEST_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another path") from error
    return part
