"""What a dense head reads, and what it is. Knows no engine and no checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Features:
    """The output of one block, with merged tokens spread over their patches.

    Attributes:
        prefix: [B, prefix, C] class, register or detection tokens.
        grid: [B, C, rows, columns], of clips [B, C, time, rows, columns]; None if the head reads the prefix alone.
    """

    prefix: Tensor
    grid: Tensor | None

    @property
    def patches(self) -> Tensor:
        """The grid of a head that reads one."""
        assert self.grid is not None
        return self.grid


class DenseHead(nn.Module):
    """Turns the features of some blocks, the last block last, into an output [B, ...] of a fixed shape.

    `settings` is everything beside the weights that shapes the computation; it counts in a model's fingerprint.
    """

    settings: str = ""

    def forward(self, features: Sequence[Features]) -> Tensor:
        """See the class."""
        raise NotImplementedError


def unmerge(tokens: Tensor, token_of_patch: Tensor, grid: Sequence[int]) -> Tensor:
    """Give each patch the output of the token that it went into.

    Args:
        tokens: [B, T, C].
        token_of_patch: [B, P] index of the token of each patch, in reading order.
        grid: rows and columns, before them the time of clips; their product is P.

    Returns:
        [B, C, *grid].
    """
    batch, count, width = tokens.shape
    first = torch.arange(batch, device=tokens.device)[:, None] * count
    patches = tokens.reshape(-1, width).index_select(0, (token_of_patch + first).flatten())  # by whole rows
    return patches.view(batch, -1, width).transpose(1, 2).reshape(batch, width, *grid)
