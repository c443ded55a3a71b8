"""Linear layers in 8-bit integers: weights with a scale for each output, tokens with one each.

Scales of tokens are found as they come, so that no calibration is needed, and no token's rounding depends on the others
in its frame or batch. Norms, residuals and merging stay in float32; attention is in bfloat16 where the processor
multiplies it. Based on torch's private oneDNN operations, which are tried out before use
(docs/decisions/0007-private-operations-behind-a-guard.md).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from janus_vit.model.catalog import Model
from janus_vit.model.engines.packed import PackedEngine, multiplies_bfloat16, product_unavailable_reason
from janus_vit.model.engines.packed_block import Product
from janus_vit.model.engines.trial import TOLERANCES, int8_difference, tells_refusals
from janus_vit.model.layers import AFTER_LINEAR
from janus_vit.planning.accuracy.table import INT8

_LARGEST = 127  # of both factors: one range to both sides of zero
_ZERO = 128  # what stands for zero in an unsigned factor; oneDNN has no fast product of two signed ones
_TINY = 1e-30  # scale of a row of zeros
_AT_ONCE = 1 << 18  # values that are rounded at once: what stays in a core's cache


class Int8Linear:
    """activation(x W' + b) for any number of rows, in float32 outside.

    Args:
        weight: [outputs, inputs], copied. bias: [outputs]. activation: a key of `layers.AFTER_LINEAR`.
    """

    def __init__(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> None:
        integers, self._scales = quantise_weight(weight)
        self._weight = torch.ops.onednn.qlinear_prepack(integers, None)
        self._zeros = torch.zeros_like(self._scales, dtype=torch.int64)
        self._bias = bias.detach().to(torch.float32, copy=True)  # a view would hold the whole file that it lies in
        self._after = AFTER_LINEAR[activation]

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        out, scales = self._product(x)
        out.mul_(scales).add_(self._bias)  # a third of the time of addcmul, which is slow on rows and columns
        return self._after(out)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product of x [..., inputs] plus a residual [..., outputs]."""
        out, scales = self._product(x)
        return out.mul_(scales).add_(self._bias).add_(residual)

    def _product(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Two factors of x W': [..., outputs] and [..., 1]."""
        rows, scales = quantise_rows(x.float())
        out = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, _ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return out, scales


def quantise_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight [outputs, inputs] as integers from -127 to 127, and scales [outputs] that give it back."""
    weight = weight.detach().float()
    scales = weight.abs().amax(dim=1).clamp_min(_TINY) / _LARGEST
    return (weight / scales[:, None]).round_().to(torch.int8), scales


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [..., C] as integers from 1 to 255 around 128, and scales [..., 1] that give them back."""
    rows = x.reshape(-1, x.shape[-1])
    largest = torch.maximum(rows.amax(dim=1, keepdim=True), rows.amin(dim=1, keepdim=True).neg_()).clamp_min_(_TINY)
    factors, few = _LARGEST / largest, max(1, _AT_ONCE // rows.shape[1])
    if len(rows) <= few:  # most merged runs, where slicing costs as much as rounding
        integers = (rows * factors).round_().to(torch.int8)
    else:
        integers = torch.empty(rows.shape, dtype=torch.int8)
        for first in range(0, len(rows), few):
            some = slice(first, first + few)
            integers[some] = (rows[some] * factors[some]).round_()
    unsigned = integers.view(torch.uint8).bitwise_xor_(_ZERO)
    return unsigned.view(x.shape), (largest / _LARGEST).view(*x.shape[:-1], 1)


class Int8Engine(PackedEngine):
    """Blocks whose linear layers are in int8; the stem is in the type of attention, the head plain."""

    name = "int8"
    precision = INT8

    def __init__(self, model: Model, keep_model: bool = True) -> None:
        self.dtype = attention_dtype()
        super().__init__(model, keep_model)

    def pack(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> Product:
        """See `PackedEngine.pack`."""
        return Int8Linear(weight, bias, activation)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """See `PackedEngine.unavailable_reason`."""
        return _unavailable_reason() or product_unavailable_reason(attention_dtype())


def attention_dtype() -> torch.dtype:
    """Of attention and stem: bfloat16 where the processor multiplies it."""
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


@lru_cache
@tells_refusals("torch")
def _unavailable_reason() -> str | None:
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return "the processor is no x86 with AVX2 or AVX-512"  # elsewhere oneDNN multiplies int8 one by one
    saturates = not int8_difference(Int8Linear) < TOLERANCES[torch.float32]
    return "the processor has no VNNI instructions: its int8 products saturate" if saturates else None
