"""Rotary positions: attention turns pairs of channels by angles that grow with a token's position (Su et al., 2021).

Channels 2 i and 2 i + 1 of a head are a pair: the parts of a complex number, which one multiplication turns. The angle
is linear in the position, so a merged token, which stands at the mean position of its patches, is turned by the mean of
their angles. Tokens before the patches are not turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

# The same angles in all heads of all blocks; own ones in each head; or the same in all heads, but each channel of a
# pair turns by its own angle (V-JEPA 2).
SHARED, EACH, UNPAIRED = "shared", "each", "unpaired"
ROTARIES = (SHARED, EACH, UNPAIRED)


class Rotary(nn.Module):
    """The rotation of each token in each block.

    Args:
        sides: number of patches along each axis, in reading order: rows and columns, of clips first the time steps.
        kind: one of `ROTARIES`.
        blocks: number of blocks.
        heads: number of heads.
        head_width: number of channels of a head.

    Attributes:
        differs: whether each block turns by its own angles.
        frequencies: radians that each pair (each channel if `UNPAIRED`) is turned for one patch further along each
            axis, [blocks or 1, axes + 1, heads or 1, pairs or channels]. The last row is the angle at the first patch.
    """

    def __init__(self, sides: tuple[int, ...], kind: str, blocks: int, heads: int, head_width: int) -> None:
        super().__init__()
        self._sides, self._kind = sides, kind
        self.differs = kind == EACH
        own = (blocks, len(sides) + 1, heads) if self.differs else (1, len(sides) + 1, 1)
        values = torch.zeros(*own, head_width if kind == UNPAIRED else head_width // 2)
        self.frequencies = nn.Parameter(values if values.is_meta else values.normal_(std=0.3))
        self._kept: dict[tuple[object, ...], Tensor] = {}

    def forward(self, block: int, sizes: Tensor, protected: int, token_of_patch: Tensor | None) -> Tensor:
        """Return what `rotate` multiplies each token's pairs by.

        Args:
            block: index of the block.
            sizes: [B, T] patches that each token stands for; 1 for those before the patches.
            protected: number of tokens before the patches.
            token_of_patch: [B, P] index of the token that each patch is in; may be None if nothing has merged.

        Returns:
            Complex [B or 1, T, factors, heads or 1, head_width / 2], with one factor, or two if `UNPAIRED`.
        """
        index = min(block, len(self.frequencies) - 1)
        if sizes.shape[1] == protected + math.prod(self._sides):
            return self._of_unmerged(index, protected)
        assert token_of_patch is not None
        return self._factors(index, self._mean_positions(sizes, token_of_patch))

    def _of_unmerged(self, index: int, protected: int) -> Tensor:
        def compute() -> Tensor:
            positions = self._patch_positions()
            before = positions.new_zeros(protected, positions.shape[1])
            return self._factors(index, torch.cat([before, positions])[None])

        return self._computed_once((index, protected), compute)

    def _computed_once(self, name: tuple[int, ...], compute: Callable[[], Tensor]) -> Tensor:
        key = *name, self.frequencies.device, self.frequencies.dtype
        found = self._kept.get(key)
        if found is None:
            found = compute()
            if not torch.compiler.is_compiling():  # an export traces tensors without values
                self._kept[key] = found
        return found

    def _patch_positions(self) -> Tensor:
        """Position of each patch, and a 1: [P, axes + 1]."""
        return self._computed_once((), self._grid)

    def _grid(self) -> Tensor:
        like = self.frequencies
        each = [torch.arange(side, dtype=like.dtype, device=like.device) for side in self._sides]
        grid = torch.stack(torch.meshgrid(*each, indexing="ij"), dim=-1).flatten(0, -2)
        return torch.cat([grid, grid.new_ones(len(grid), 1)], dim=1)

    def _mean_positions(self, sizes: Tensor, token_of_patch: Tensor) -> Tensor:
        """Mean position of the patches in each token, and a 1; zeros before the patches: [B, T, axes + 1].

        Sums of whole numbers are exact, so a split run gets the same means. Few operations: each costs more than its
        arithmetic.
        """
        positions = self._patch_positions()
        if len(sizes) == 1:
            sums = positions.new_zeros(sizes.shape[1], positions.shape[1]).index_add_(0, token_of_patch[0], positions)
            return sums.div_(sizes[0, :, None])[None]
        each = positions.expand(len(sizes), -1, -1)
        sums = positions.new_zeros(*sizes.shape, positions.shape[1])
        return sums.scatter_add_(1, token_of_patch[..., None].expand_as(each), each).div_(sizes[..., None])

    def _factors(self, index: int, positions: Tensor) -> Tensor:
        frequencies = self.frequencies[index]  # [axes + 1, heads or 1, pairs or channels]
        angles = (positions @ frequencies.flatten(1)).view(*positions.shape[:2], 1, *frequencies.shape[1:])
        turns = torch.polar(angles.new_ones(()), angles)
        if self._kind != UNPAIRED:
            return turns
        first, second = turns[..., 0::2], turns[..., 1::2]
        return torch.cat([first + second, (first - second).conj()], dim=2) / 2


def rotate(values: Tensor, rotation: Tensor) -> Tensor:
    """Turn queries and keys in place, which saves memory for as many values. Return them.

    Args:
        values: [B, n, 2, heads, head_width], queries and keys.
        rotation: complex, as `Rotary` returns it. A pair z becomes a z, or a z + b conj(z) with two factors.
    """
    pairs = torch.view_as_complex(values.view(*values.shape[:-1], -1, 2))
    if rotation.shape[2] == 1:
        pairs.mul_(rotation)
        return values
    mirrored = pairs.conj() * rotation[:, :, 1:]
    pairs.mul_(rotation[:, :, :1]).add_(mirrored)
    return values


def split_heads(qkv: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Split [B, T, 3, heads, head_width] into queries, keys and values [B, T, heads, head_width].

    Turns the queries and keys of the tokens that `rotation` is for, which may come before padding, in the precision of
    `rotation`. May overwrite `qkv`.
    """
    query, key, value = qkv.unbind(2)
    if rotation is not None:
        turned = qkv[:, :, :2].to(rotation.real.dtype)
        rotate(turned[:, : rotation.shape[1]], rotation)
        query, key = turned.to(qkv.dtype).unbind(2)
    return query, key, value
