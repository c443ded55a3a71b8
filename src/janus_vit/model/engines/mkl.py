"""Intel's MKL, which torch carries: float32 products on weights that are laid out once, and torch's own attention.

On Intel's processors its products are faster than oneDNN's. The operations are torch's own but private, so they are
tried out before use (docs/decisions/0007-private-operations-behind-a-guard.md).
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
from janus_vit.model.engines.trial import TOLERANCES, linear_difference, tells_refusals, too_far, worst
from janus_vit.model.layers import AFTER_LINEAR

_ROWS = 300  # that weights are laid out for; of the others that were tried all are right, and most as fast
_TRIED_ROWS = (1, 2, 7, 60, 299, 301, 1200, 3000)
_TRIED_SHAPES = ((64, 96), (588, 96), (4096, 96), (96, 768))  # inputs and outputs


class MklLinear:
    """activation(x W' + b) for any number of rows, in float32.

    Args:
        weight: [outputs, inputs], copied. bias: [outputs]. activation: a key of `layers.AFTER_LINEAR`.
        dtype: float32, which is all that it multiplies.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, activation: str | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        assert dtype == torch.float32
        self._weight = torch.ops.mkl._mkl_reorder_linear_weight(weight.detach(), _ROWS)
        self._shape = torch.full((1,), torch.nan).expand(weight.shape)  # all that is asked of the weight as it was
        self._bias = bias.detach().clone()  # a view would hold the whole file that it lies in
        self._after = AFTER_LINEAR[activation]

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        rows = x.numel() // x.shape[-1]  # told another number, torch would multiply the weight as it was
        out: Tensor = torch.ops.mkl._mkl_linear(x, self._weight, self._shape, self._bias, rows)
        return self._after(out)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product of x [..., inputs] plus a residual [..., outputs]."""
        return self(x).add_(residual)


class MklEngine(PackedEngine):
    """Stem and blocks in float32 on MKL; the head is plain."""

    name = "mkl"
    linear: Callable[..., Product] = MklLinear
    ways: ClassVar[tuple[BlockVariant, ...]] = (BlockVariant(attend_plainly),)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """See `PackedEngine.unavailable_reason`."""
        return _unavailable_reason()


@lru_cache
@tells_refusals("torch")
def _unavailable_reason() -> str | None:
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return "torch is built without MKL"
    differences = (linear_difference(MklLinear, torch.float32, *shape, rows=_TRIED_ROWS) for shape in _TRIED_SHAPES)
    return too_far(worst(differences), TOLERANCES[torch.float32])
