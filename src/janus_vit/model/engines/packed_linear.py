"""A linear layer whose weight lies as oneDNN wants it, with what can be fused into its product."""

from __future__ import annotations

import torch
from torch import Tensor

# activation -> oneDNN's name and algorithm
_FUSED = {None: ("none", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "silu": ("swish", "")}


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [rows, inputs] W' + b for a weight [outputs, inputs] that is used once and must be contiguous."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class PackedLinear:
    """activation(x W' + b) for any number of rows.

    Args:
        weight: [outputs, inputs], copied. bias: [outputs]. dtype: of factors and outputs.
        activation: a key of the table above, computed where the product is written.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, activation: str | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype))
        self._bias = bias.detach().to(dtype, copy=True)  # a view would hold the whole file that it lies in
        self._attribute, self._algorithm = _FUSED[activation]
        self._dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self._dtype), self._weight, self._bias, self._attribute, [], self._algorithm
        )
        return out

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product of x [..., inputs] plus a residual [..., outputs] in float32."""
        if self._dtype != torch.float32:
            return residual + self(x)
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")
        return out
