"""What a block does on ragged rows beside matrix products and attention, in plain PyTorch.

`triton_operations` does the same in few kernels. This is their reference, and runs where Triton does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.engines.gpu import ragged
from janus_vit.model.engines.gpu.layout import Step
from janus_vit.model.engines.gpu.ragged import RaggedTokens, size_channels


@dataclass(frozen=True)
class Norm:
    """A layer norm.

    Attributes:
        weight: [C] float32.
        bias: [C] float32.
        eps: added to the variance.
    """

    weight: Tensor
    bias: Tensor
    eps: float


@dataclass(frozen=True)
class Branch:
    """What a residual branch gives, to be added to the residual stream.

    Attributes:
        values: [N, C] without the bias.
        bias: [C] float32.
    """

    values: Tensor
    bias: Tensor


class Operations(Protocol):
    """Row operations of a block.

    Attributes:
        capturable: whether they need nothing of a run but its `BlockRows` and its table, so that a CUDA graph of them
            serves other frames too.
    """

    capturable: bool

    def add_norm(self, x: Tensor, branch: Branch | None, norm: Norm) -> tuple[Tensor, Tensor]:
        """Add a branch to x [N, C] and normalise: the sum, which may take the place of x, and its norm, both [N, C]."""

    def mark_sizes(self, keys: Tensor, sizes: Tensor, channel: int) -> None:
        """Write the logarithms of sizes [N] into two channels of keys [N, heads, width], from `channel` on."""

    def merge_norm(
        self, x: Tensor, branch: Branch, sizes: Tensor, keys: Tensor, step: Step, norm: Norm
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add a branch to x [N, C], merge tokens by their keys [N, heads, head_width] as the step says, normalise.

        Returns:
            The residual stream [rows after, C], sizes [rows after], and the norm [rows after, C].
        """


class TorchOperations:
    """Operations in plain PyTorch, on any device; merging goes frame by frame.

    Args:
        protected: leading tokens of a frame that never merge.
        dtype: of the norms that come out.
    """

    capturable = False

    def __init__(self, protected: int, dtype: torch.dtype) -> None:
        self._protected = protected
        self._dtype = dtype

    def add_norm(self, x: Tensor, branch: Branch | None, norm: Norm) -> tuple[Tensor, Tensor]:
        """See `Operations.add_norm`."""
        total = x if branch is None else summed(x, branch).to(x.dtype)
        return total, self._norm(total, norm)

    def mark_sizes(self, keys: Tensor, sizes: Tensor, channel: int) -> None:
        """See `Operations.mark_sizes`."""
        channels = size_channels(sizes, keys.dtype)
        keys[..., channel : channel + channels.shape[-1]] = channels[:, None]

    def merge_norm(
        self, x: Tensor, branch: Branch, sizes: Tensor, keys: Tensor, step: Step, norm: Norm
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Operations.merge_norm`."""
        merges = [before - after for before, after in zip(step.counts_before, step.counts_after, strict=True)]
        before = RaggedTokens(summed(x, branch), sizes, step.counts_before)
        merged = ragged.merge(before, keys, merges, self._protected)
        rows = merged.rows.to(x.dtype)
        return rows, merged.sizes, self._norm(rows, norm)

    def _norm(self, x: Tensor, norm: Norm) -> Tensor:
        return F.layer_norm(x.float(), norm.weight.shape, norm.weight, norm.bias, norm.eps).to(self._dtype)


def summed(x: Tensor, branch: Branch) -> Tensor:
    """x [N, C] with a branch, in float32."""
    return x.float() + branch.values.float() + branch.bias
