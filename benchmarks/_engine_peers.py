"""Other runtimes on the weights of one of our checkpoints, unmerged: what an engine's speed is measured against.

Each peer makes a function from pixels and merges, which it cannot do and ignores, to logits. It computes with as many
threads as torch does, the model as transformers and timm define it: the last block gives all tokens. Those in EXPORTED
run what `janus-vit export` writes, and only if they are asked for: all at once would want too much memory. Needs the
extra `janus-vit[bench]`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from janus_vit.model.catalog import Model, load_model
from janus_vit.model.export import PACKAGES, as_onnx, export_onnx

Runner = Callable[[Tensor, tuple[int, ...]], Tensor]  # pixels [1, 3, H, W] and merges of each block to logits
EXPORTED = ("openvino-export",)
_WHOLE, _EXPORT = "whole.onnx", "export.onnx"  # the model as it is, and as `janus-vit export` writes it
_CALIBRATION = 2  # inputs that fixed scales are taken from


class Whole(nn.Module):
    """Pixels [1, 3, H, W] to logits [1, classes], every block with all tokens."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        tokens = self.network.embed(pixels)
        sizes = torch.ones(tokens.shape[:2])
        for block in self.network.blocks:
            tokens, _ = block(tokens, sizes, None, 0, 0)
        return self.network.head_logits(tokens, sizes)


def onnxruntime_float32(folder: Path) -> Runner:
    """ONNX Runtime as it comes."""
    return _onnxruntime(folder / _WHOLE)


def onnxruntime_int8(folder: Path) -> Runner:
    """ONNX Runtime's dynamic quantisation: weights with a scale for each output, activations one a tensor."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = folder / "dynamic.onnx"
    quantize_dynamic(
        folder / _WHOLE, small, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"]
    )
    return _onnxruntime(small)


def openvino_float32(folder: Path) -> Runner:
    """OpenVINO, kept from computing in bfloat16 where that is faster."""
    return _openvino(folder / _WHOLE, "f32")


def openvino_exported(folder: Path) -> Runner:
    """The same of our own export, whose last block computes only what the head reads."""
    return _openvino(folder / _EXPORT, "f32")


def openvino_bfloat16(folder: Path) -> Runner:
    """OpenVINO in bfloat16."""
    return _openvino(folder / _WHOLE, "bf16")


def openvino_int8(folder: Path) -> Runner:
    """OpenVINO on scales that were fixed before, from the largest values of a few inputs; the rest is in bfloat16."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    shape = load_model(str(folder)).shape.input_shape
    pixels = torch.randn(_CALIBRATION, 1, *shape, generator=torch.Generator().manual_seed(2))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(pixels)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            one = next(self._left, None)
            return None if one is None else {"pixels": one.numpy()}

    small = folder / "static.onnx"
    quantize_static(
        folder / _WHOLE,
        small,
        Reader(),
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
    )
    return _openvino(small, "bf16")


def write_graphs(folder: Path, peers: Collection[str]) -> None:
    """What those peers read, beside the checkpoint."""
    model = load_model(str(folder))
    if {*peers} & {*EXPORTED}:
        export_onnx(model, model.shape.blocks + 1, 0.0, folder / _EXPORT)
    if {*peers} - {*EXPORTED}:
        as_onnx(Whole(model).eval(), model.shape.input_shape, ("logits",)).save(folder / _WHOLE)


def _onnxruntime(file: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda pixels, merges: torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])


def _openvino(file: Path, precision: str) -> Runner:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(file, "CPU", settings).create_infer_request()
    return lambda pixels, merges: torch.from_numpy(np.array(request.infer({0: pixels.numpy()})[0]))


def installed() -> dict[str, Callable[[Path], Runner]]:
    """The peers that can run here, by name."""
    logging.getLogger().setLevel(logging.ERROR)  # the quantisers advise on every call
    peers: dict[str, Callable[[Path], Runner]] = {}
    if all(find_spec(name) for name in (*PACKAGES, "onnxruntime")):
        peers |= {"onnxruntime": onnxruntime_float32, "onnxruntime-int8": onnxruntime_int8}
        if find_spec("openvino"):
            peers |= {
                "openvino": openvino_float32,
                "openvino-export": openvino_exported,
                "openvino-bf16": openvino_bfloat16,
                "openvino-int8": openvino_int8,
            }
    return peers
