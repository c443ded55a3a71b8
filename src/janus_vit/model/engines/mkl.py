"""An engine on Intel's MKL, which comes with torch: float32 products on packed weights, and torch's own attention.

On Intel CPUs these products are faster than oneDNN's. They are private operations of torch, so they are checked before
use (docs/decisions/0007-private-operations-behind-a-guard.md).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from janus_vit.model.engines.block_variant import BlockVariant
from janus_vit.model.engines.packed import PackedEngine
from janus_vit.model.engines.packed_attention import attend_plainly
from janus_vit.model.engines.packed_block import Product
from janus_vit.model.engines.trial import (
    TOLERANCES,
    deviation_reason,
    linear_difference,
    reports_changed_operations,
    worst,
)
from janus_vit.model.layers import AFTER_LINEAR

_ROWS = 300  # MKL packs weights for this number of rows; all others that were tried are right, and most as fast
_CHECKED_ROWS = (1, 2, 7, 60, 299, 301, 1200, 3000)
_CHECKED_SHAPES = ((64, 96), (588, 96), (4096, 96), (96, 768))  # inputs and outputs


class MklLinear:
    """Compute activation(x W' + b) for any number of rows, in float32.

    Args:
        weight: [outputs, inputs], copied.
        bias: [outputs].
        activation: a key of `layers.AFTER_LINEAR`.
        dtype: float32, the only type that it supports.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, activation: str | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        assert dtype == torch.float32
        self._weight = torch.ops.mkl._mkl_reorder_linear_weight(weight.detach(), _ROWS)
        self._shape = torch.full((1,), torch.nan).expand(weight.shape)  # placeholder for the original weight
        self._bias = bias.detach().clone()  # a view would keep the whole mapped file in memory
        self._after = AFTER_LINEAR[activation]

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        rows = x.numel() // x.shape[-1]  # with another number torch would use the original weight
        out: Tensor = torch.ops.mkl._mkl_linear(x, self._weight, self._shape, self._bias, rows)
        return self._after(out)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """Add the product of x [..., inputs] to a residual [..., outputs]."""
        return self(x).add_(residual)


class MklEngine(PackedEngine):
    """Run stem and blocks in float32 on MKL. The head is plain torch."""

    name = "mkl"
    linear: Callable[..., Product] = MklLinear
    variants: ClassVar[tuple[BlockVariant, ...]] = (BlockVariant(attend_plainly),)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """See `PackedEngine.unavailable_reason`."""
        return _unavailable_reason()


@lru_cache
@reports_changed_operations("torch")
def _unavailable_reason() -> str | None:
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return "torch is built without MKL"
    differences = (linear_difference(MklLinear, torch.float32, *shape, rows=_CHECKED_ROWS) for shape in _CHECKED_SHAPES)
    return deviation_reason(worst(differences), TOLERANCES[torch.float32])
