"""A linear layer whose weight is in oneDNN's own layout, with the activation fused into the product."""

from __future__ import annotations

import torch
from torch import Tensor

# Activation -> oneDNN's name and algorithm.
_FUSED = {None: ("none", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "silu": ("swish", "")}


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x [rows, inputs] W' + b for a contiguous weight [outputs, inputs] that is used once."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class PackedLinear:
    """Compute activation(x W' + b) for any number of rows.

    Args:
        weight: [outputs, inputs], copied.
        bias: [outputs].
        activation: a key of `_FUSED`, computed inside the product.
        dtype: type of factors and outputs.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, activation: str | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype))
        self._bias = bias.detach().to(dtype, copy=True)  # a view would keep the whole mapped file in memory
        self._attribute, self._algorithm = _FUSED[activation]
        self._dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self._dtype), self._weight, self._bias, self._attribute, [], self._algorithm
        )
        return out

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """Add the product of x [..., inputs] to a residual [..., outputs] in float32."""
        if self._dtype != torch.float32:
            return residual + self(x)
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")
        return out
