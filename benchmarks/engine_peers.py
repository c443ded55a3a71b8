"""Other runtimes on the weights of one of our networks, unmerged: what an engine's speed is measured against.

Each peer makes a function from pixels to logits out of the ONNX file of the whole model, and computes with as many
threads as torch does. Needs the extra `janus-vit[bench]`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Run = Callable[[Tensor], Tensor]


def onnxruntime_float32(file: Path, pixels: Tensor) -> Run:
    """ONNX Runtime as it comes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"pixels": x.numpy()})[0])


def onnxruntime_int8(file: Path, pixels: Tensor) -> Run:
    """ONNX Runtime's dynamic quantisation: weights a scale each output, activations a scale each tensor."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)
    small = file.with_suffix(".dynamic.onnx")
    quantize_dynamic(file, small, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    return onnxruntime_float32(small, pixels)


def openvino_float32(file: Path, pixels: Tensor) -> Run:
    """OpenVINO, without its default of a lower precision where that is faster."""
    return _openvino(file, "f32")


def openvino_bfloat16(file: Path, pixels: Tensor) -> Run:
    """OpenVINO in bfloat16."""
    return _openvino(file, "bf16")


def openvino_int8(file: Path, pixels: Tensor) -> Run:
    """OpenVINO on weights and activations whose scales were fixed before, from the largest values of some pixels."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter([{"pixels": one[None].numpy()} for one in pixels])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self._left, None)

    logging.getLogger().setLevel(logging.ERROR)
    small = file.with_suffix(".static.onnx")
    if small.exists(): return _openvino(small, "bf16")
    quantize_static(
        file,
        small,
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    return _openvino(small, "bf16")


def _openvino(file: Path, precision: str) -> Run:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(file, "CPU", settings).create_infer_request()
    return lambda x: torch.from_numpy(np.array(request.infer({0: x.numpy()})[0]))


PEERS: dict[str, Callable[[Path, Tensor], Run]] = {
    "ONNX Runtime float32": onnxruntime_float32,
    "ONNX Runtime int8": onnxruntime_int8,
    "OpenVINO float32": openvino_float32,
    "OpenVINO bfloat16": openvino_bfloat16,
    "OpenVINO int8": openvino_int8,
}
