"""An engine with 8-bit linear layers on ZenDNN, which finds the scale of each token and multiplies in one operation.

Weights have one scale for each output. Tokens have one scale for each part of at most 2,048 values. Norms, residuals
and merging stay in float32. The rest is in bfloat16 if the CPU multiplies it in hardware.
"""

from __future__ import annotations

from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.catalog import Model
from janus_vit.model.engines.int8 import attention_dtype, quantise_weight
from janus_vit.model.engines.packed_block import Product
from janus_vit.model.engines.trial import (
    attention_difference,
    deviation_reason,
    int8_difference,
    linear_difference,
    reports_changed_operations,
    worst,
)
from janus_vit.model.engines.zen import (
    INPUTS,
    ZenEngine,
    attend,
    call,
    load_library,
    product_unavailable_reason,
)
from janus_vit.model.layers import AFTER_LINEAR
from janus_vit.planning.accuracy.table import INT8

_TOLERANCE = 1e-1  # for values around 1; both factors are rounded to integers
_PART = 2048  # most inputs of one product: zentorch up to 2.14.0 reads its own packed weights wrongly above
_STEP = 4  # inputs are padded to a multiple: the same versions multiply a single row wrongly above 1,024 others


class ZenInt8Linear:
    """Compute activation(x W' + b) for any number of rows.

    Args:
        weight: [outputs, inputs], copied.
        bias: [outputs].
        activation: a key of `layers.AFTER_LINEAR`.
    """

    def __init__(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> None:
        integers, self._scales = quantise_weight(weight)
        inputs = integers.shape[1]
        self._missing = -inputs % _STEP
        count = -(-inputs // _PART)
        self._inputs = -(-inputs // (count * _STEP)) * _STEP  # inputs of a part; the last part may have fewer
        parts = torch.split(F.pad(integers, (0, self._missing)), self._inputs, dim=1)
        self._parts = [call("zentorch_weight_prepack_for_dynamic_qlinear", part.contiguous()) for part in parts]
        self._dtype = attention_dtype()
        self._bias = bias.detach().to(self._dtype, copy=True)  # a view would keep the whole mapped file in memory
        self._after = AFTER_LINEAR[activation]

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        out = self._product(x, self._dtype)
        return self._after(out)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """Add the product of x [..., inputs] to a residual [..., outputs] in float32."""
        return self._product(x, residual.dtype).add_(residual)

    def _product(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Sum the products of all parts of the inputs: [..., outputs] in the given type."""
        low = x.to(self._dtype)
        slices = torch.split(F.pad(low, (0, self._missing)) if self._missing else low, self._inputs, dim=-1)
        biases = [self._bias, *[None] * (len(self._parts) - 1)]
        first, *others = map(partial(self._part, dtype), slices, self._parts, biases)
        for other in others:
            first.add_(other)
        return first

    def _part(self, dtype: torch.dtype, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out = x.new_empty((*x.shape[:-1], len(self._scales)), dtype=dtype)
        call("zentorch_dynamic_qlinear.out", x, weight, self._scales, bias, is_weight_prepacked=True, out=out)
        return out


class ZenInt8Engine(ZenEngine):
    """Run the linear layers of the blocks in int8. The stem has the type of attention; the head is plain torch."""

    name = "zen-int8"
    precision = INT8

    def __init__(self, model: Model, keep_model: bool = True) -> None:
        self.dtype = attention_dtype()
        super().__init__(model, keep_model)

    def pack(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> Product:
        """See `PackedEngine.pack`."""
        return ZenInt8Linear(weight, bias, activation)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """See `PackedEngine.unavailable_reason`."""
        return _unavailable_reason() or product_unavailable_reason(attention_dtype())


@lru_cache
@reports_changed_operations("zentorch")
def _unavailable_reason() -> str | None:
    load_error = load_library()
    if load_error is not None:
        return load_error
    differences = [linear_difference(ZenInt8Linear, attention_dtype(), inputs) for inputs in INPUTS]
    differences += [int8_difference(ZenInt8Linear), attention_difference(attend, attention_dtype())]
    return deviation_reason(worst(differences), _TOLERANCE)
