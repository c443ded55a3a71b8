"""Rotary positions: attention turns pairs of channels by angles that grow with a token's position (Su et al., 2021).

Channel i of a head is paired with channel i + head_width / 2. The angle of a channel is linear in the position, so a
merged token, which stands at the mean position of its patches, is turned by the mean of their angles. Tokens before the
patches are not turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

SHARED, EACH = "shared", "each"  # the same frequencies in all heads of all blocks, or own ones in each head
ROTARIES = (SHARED, EACH)


class Rotary(nn.Module):
    """The rotation of each token in each block.

    Args:
        sides: number of patches along each axis, in reading order: rows and columns, of clips first the time steps.
        prefix: number of tokens before the patches.
        frequencies: shape of the parameter: [1, axes + 1, 1, head_width], or [depth, axes + 1, heads, head_width].

    Attributes:
        frequencies: radians that each channel is turned for one patch further along each axis. The last row is the
            angle at the first patch.
    """

    def __init__(self, sides: tuple[int, ...], prefix: int, frequencies: tuple[int, ...]) -> None:
        super().__init__()
        self._sides, self._prefix = sides, prefix
        values = torch.zeros(frequencies)
        self.frequencies = nn.Parameter(values if values.is_meta else values.normal_(std=0.3))
        self._kept: dict[tuple[int | None, torch.device, torch.dtype], Tensor] = {}

    def forward(self, block: int, tokens: int, token_of_patch: Tensor | None) -> Tensor:
        """Return the cosine and the signed sine of each token's angles.

        Args:
            block: index of the block.
            tokens: number of tokens.
            token_of_patch: [B, P] index of the token that each patch is in; may be None if nothing has merged.

        Returns:
            [B or 1, tokens, 2, heads or 1, head_width], as `rotate` takes it.
        """
        index = min(block, len(self.frequencies) - 1)
        if tokens == self._prefix + math.prod(self._sides):
            return self._of_unmerged(index)
        assert token_of_patch is not None
        return self._turns(index, self._mean_positions(tokens, token_of_patch))

    def _of_unmerged(self, index: int) -> Tensor:
        def compute() -> Tensor:
            positions = self._patch_positions()
            before = positions.new_zeros(self._prefix, positions.shape[1])
            return self._turns(index, torch.cat([before, positions])[None])

        return self._computed_once(index, compute)

    def _computed_once(self, index: int | None, compute: Callable[[], Tensor]) -> Tensor:
        key = index, self.frequencies.device, self.frequencies.dtype
        found = self._kept.get(key)
        if found is None:
            found = compute()
            if not torch.compiler.is_compiling():  # an export traces tensors without values
                self._kept[key] = found
        return found

    def _patch_positions(self) -> Tensor:
        """Position of each patch, and a 1: [P, axes + 1]."""
        return self._computed_once(None, self._grid)

    def _grid(self) -> Tensor:
        like = self.frequencies
        each = [torch.arange(side, dtype=like.dtype, device=like.device) for side in self._sides]
        grid = torch.stack(torch.meshgrid(*each, indexing="ij"), dim=-1).flatten(0, -2)
        return torch.cat([grid, grid.new_ones(len(grid), 1)], dim=1)

    def _mean_positions(self, tokens: int, token_of_patch: Tensor) -> Tensor:
        """Mean position of the patches in each token, and a 1; zeros for the prefix: [B, tokens, axes + 1].

        Sums of whole numbers are exact, so a split run gets the same means.
        """
        positions = self._patch_positions().expand(len(token_of_patch), -1, -1)
        places = token_of_patch[..., None].expand_as(positions)
        sums = positions.new_zeros(len(positions), tokens, positions.shape[2]).scatter_add(1, places, positions)
        return sums / sums[..., -1:].clamp_min(1)

    def _turns(self, index: int, positions: Tensor) -> Tensor:
        frequencies = self.frequencies[index]  # [axes + 1, heads or 1, head_width]
        angles = (positions @ frequencies.flatten(1)).view(*positions.shape[:2], *frequencies.shape[1:])
        first, second = angles.sin().chunk(2, dim=-1)
        return torch.stack([angles.cos(), torch.cat([-first, second], dim=-1)], dim=-3)


def rotate(values: Tensor, rotation: Tensor) -> Tensor:
    """Turn queries and keys in place, which saves memory for as many values. Return them.

    Args:
        values: [..., n, heads, head_width].
        rotation: [..., 2, heads or 1, head_width]: cosine, and sine that is negative in the first half of the channels.
    """
    half = values.shape[-1] // 2
    first, second = values[..., :half], values[..., half:]
    cosine, sine = rotation[..., :1, :, :].chunk(2, dim=-1), rotation[..., 1:, :, :].chunk(2, dim=-1)
    turned = first * sine[1]
    first.mul_(cosine[0]).addcmul_(second, sine[0])
    second.mul_(cosine[1]).add_(turned)
    return values


def split_heads(qkv: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Split [B, T, 3, heads, head_width] into queries, keys and values [B, T, heads, head_width].

    Turns the queries and keys of the tokens that `rotation` is for, which may come before padding. May overwrite `qkv`;
    queries and keys may get the type of `rotation`.
    """
    if rotation is None:
        query, key, value = qkv.unbind(2)
        return query, key, value
    turned = qkv[:, :, :2].to(rotation.dtype)
    rotate(turned[:, : rotation.shape[1]], rotation)
    return turned[:, :, 0], turned[:, :, 1], qkv[:, :, 2]
