"""Other runtimes that run the same weights without merging, to compare our engines with.

Each peer returns a function from pixels and merges to logits; it ignores the merges. Peers use as many threads as
torch. They compute the model as transformers and timm define it: the last block computes all tokens. Peers in EXPORTED
run the file that `janus-vit export` writes, and only on request, because all peers at once need too much memory. Needs
the extra `janus-vit[bench]`.
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
from janus_vit.model.export import PACKAGES, export_onnx, to_onnx

Runner = Callable[[Tensor, tuple[int, ...]], Tensor]  # pixels [1, 3, H, W] and merges of each block to logits
EXPORTED = ("openvino-export",)
_WHOLE, _EXPORT = "whole.onnx", "export.onnx"  # the plain model, and the file of `janus-vit export`
_CALIBRATION = 2  # inputs from which static scales are computed


class Whole(nn.Module):
    """The model from pixels [1, 3, H, W] to logits [1, classes]; every block computes all tokens."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits."""
        tokens = self.network.embed(pixels)
        sizes = torch.ones(tokens.shape[:2])
        for block in self.network.blocks:
            tokens, *_ = block(tokens, sizes, None, 0, 0)
        return self.network.head_logits(tokens, sizes)


def onnxruntime_float32(folder: Path) -> Runner:
    """ONNX Runtime with default settings."""
    return _onnxruntime(folder / _WHOLE)


def onnxruntime_int8(folder: Path) -> Runner:
    """ONNX Runtime's dynamic quantisation: one scale for each output of a weight, one for each activation tensor."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantised = folder / "dynamic.onnx"
    quantize_dynamic(
        folder / _WHOLE, quantised, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"]
    )
    return _onnxruntime(quantised)


def openvino_float32(folder: Path) -> Runner:
    """OpenVINO in float32, even where bfloat16 is faster."""
    return _openvino(folder / _WHOLE, "f32")


def openvino_exported(folder: Path) -> Runner:
    """OpenVINO on our own export, whose last block computes only what the head reads."""
    return _openvino(folder / _EXPORT, "f32")


def openvino_bfloat16(folder: Path) -> Runner:
    """OpenVINO in bfloat16."""
    return _openvino(folder / _WHOLE, "bf16")


def openvino_int8(folder: Path) -> Runner:
    """OpenVINO in int8, with static scales from the largest values of a few inputs; the rest is in bfloat16."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    shape = load_model(str(folder)).shape.input_shape
    pixels = torch.randn(_CALIBRATION, 1, *shape, generator=torch.Generator().manual_seed(2))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(pixels)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            one = next(self._left, None)
            return None if one is None else {"pixels": one.numpy()}

    quantised = folder / "static.onnx"
    quantize_static(
        folder / _WHOLE,
        quantised,
        Reader(),
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
    )
    return _openvino(quantised, "bf16")


def write_graphs(folder: Path, peers: Collection[str]) -> None:
    """Write the ONNX files that those peers read, beside the checkpoint."""
    model = load_model(str(folder))
    if {*peers} & {*EXPORTED}:
        export_onnx(model, model.shape.blocks + 1, 0.0, folder / _EXPORT)
    if {*peers} - {*EXPORTED}:
        to_onnx(Whole(model).eval(), model.shape.input_shape, ("logits",)).save(folder / _WHOLE)


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
    """Return the peers that can run here, by name."""
    logging.getLogger().setLevel(logging.ERROR)  # the quantisers log advice on every call
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
