"""An engine with 8-bit linear layers: one scale for each output of a weight, and one for each token.

The scale of a token is computed when it arrives. So no calibration is needed, and a token's rounding does not depend on
other tokens in its frame or batch. Norms, residuals and merging stay in float32. Attention is in bfloat16 if the CPU
multiplies it in hardware. The engine uses private oneDNN operations of torch, which are checked before use
(docs/decisions/0007-private-operations-behind-a-guard.md).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from janus_vit.model.catalog import Model
from janus_vit.model.engines.packed import PackedEngine, multiplies_bfloat16, product_unavailable_reason
from janus_vit.model.engines.packed_block import Product
from janus_vit.model.engines.trial import TOLERANCES, int8_difference, reports_changed_operations
from janus_vit.model.layers import AFTER_LINEAR
from janus_vit.planning.accuracy.table import INT8

_LARGEST = 127  # largest integer of both factors; the range is symmetric
_ZERO = 128  # represents zero in the unsigned factor; oneDNN has no fast product of two signed factors
_TINY = 1e-30  # scale of a row of zeros, so that nothing is divided by zero
_AT_ONCE = 1 << 18  # values that are rounded in one step: they fit a core's cache


class Int8Linear:
    """Compute activation(x W' + b) for any number of rows. Inputs and outputs are float32.

    Args:
        weight: [outputs, inputs], copied.
        bias: [outputs].
        activation: a key of `layers.AFTER_LINEAR`.
    """

    def __init__(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> None:
        integers, self._scales = quantise_weight(weight)
        self._weight = torch.ops.onednn.qlinear_prepack(integers, None)
        self._zeros = torch.zeros_like(self._scales, dtype=torch.int64)
        self._bias = bias.detach().to(torch.float32, copy=True)  # a view would keep the whole mapped file in memory
        self._after = AFTER_LINEAR[activation]

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        out, scales = self._product(x)
        out.mul_(scales).add_(self._bias)  # takes a third of the time of addcmul, which broadcasts slowly
        return self._after(out)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """Add the product of x [..., inputs] to a residual [..., outputs]."""
        out, scales = self._product(x)
        return out.mul_(scales).add_(self._bias).add_(residual)

    def _product(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return x W' as two factors: unscaled products [..., outputs] and the scales of the rows [..., 1]."""
        rows, scales = quantise_rows(x.float())
        out = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, _ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return out, scales


def quantise_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight [outputs, inputs] to integers from -127 to 127 with scales [outputs]."""
    weight = weight.detach().float()
    scales = weight.abs().amax(dim=1).clamp_min(_TINY) / _LARGEST
    return (weight / scales[:, None]).round_().to(torch.int8), scales


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round rows [..., C] to integers from 1 to 255 around 128 with scales [..., 1]."""
    rows = x.reshape(-1, x.shape[-1])
    largest = torch.maximum(rows.amax(dim=1, keepdim=True), rows.amin(dim=1, keepdim=True).neg_()).clamp_min_(_TINY)
    factors, few = _LARGEST / largest, max(1, _AT_ONCE // rows.shape[1])
    if len(rows) <= few:  # most merged frames; slicing would cost as much as rounding
        integers = (rows * factors).round_().to(torch.int8)
    else:
        integers = torch.empty(rows.shape, dtype=torch.int8)
        for first in range(0, len(rows), few):
            some = slice(first, first + few)
            integers[some] = (rows[some] * factors[some]).round_()
    unsigned = integers.view(torch.uint8).bitwise_xor_(_ZERO)
    return unsigned.view(x.shape), (largest / _LARGEST).view(*x.shape[:-1], 1)


class Int8Engine(PackedEngine):
    """Run the linear layers of the blocks in int8. The stem has the type of attention; the head is plain torch."""

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
    """Return the type of attention and stem: bfloat16 if the CPU multiplies it in hardware."""
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


@lru_cache
@reports_changed_operations("torch")
def _unavailable_reason() -> str | None:
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return "the CPU is no x86 with AVX2 or AVX-512"  # elsewhere oneDNN's int8 products are slow
    saturates = not int8_difference(Int8Linear) < TOLERANCES[torch.float32]
    return "the CPU has no VNNI instructions: its int8 products saturate" if saturates else None
