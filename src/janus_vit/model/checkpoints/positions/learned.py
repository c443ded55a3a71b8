"""Position embeddings of a checkpoint: the image size that they belong to, their places, other resolutions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.errors import InputError
from janus_vit.model.vit import Architecture


def with_size(arch: Architecture, size: tuple[int, int]) -> Architecture:
    """Return the architecture for images of another height and width."""
    height, width = size
    return replace(arch, image_size=height, image_width=None if width == height else width)


def trained_size(
    parts: dict[str, Tensor], arch: Architecture, stated: tuple[int, int] | None, is_exact: bool, path: Path
) -> tuple[int, int]:
    """Return the image size that has as many patches as there are positions. Prefix tokens may have positions too.

    The stated size counts if it fits; otherwise images are square.

    Args:
        parts: tensors by their common names.
        arch: architecture of the network, apart from the image size.
        stated: height and width that the config states, None if it states none.
        is_exact: whether the positions must be those of the stated size.
        path: the checkpoint, for error messages.

    Raises:
        InputError: no size has that many patches.
    """
    if "pos" not in parts:
        if arch.frames == 1 and arch.rotary is None:
            raise InputError(f"{path}: its position embeddings are missing: copy the file again")
        if stated:
            return stated
        raise InputError(
            f"{path}: the image size is in neither the positions nor a config.json: add its config.json or use "
            "--image-size"
        )
    positions = parts["pos"].reshape(-1, arch.width).shape[0]
    times = arch.frames // arch.tubelet
    counts = sorted({positions - skip for skip in _prefix_positions(parts, arch)}, reverse=True)
    if stated and with_size(arch, stated).patches in counts:
        return stated
    if stated and is_exact:
        raise InputError(
            f"{path}: has {positions} positions, which are not those of images of {stated[0]} x {stated[1]} "
            "pixels: copy image_size in its config.json from the same model"
        )
    squares = (left for left in counts if left > 0 and math.isqrt(left // times) ** 2 * times == left)
    sides = [math.isqrt(left // times) for left in squares]
    if not sides:
        raise InputError(
            f"{path}: {positions} positions are not those of a square image, and its config.json does not "
            "state the size of another one: add image_size to it"
        )
    return sides[0] * arch.patch_size, sides[0] * arch.patch_size


def place_positions(tensors: dict[str, Tensor], arch: Architecture) -> dict[str, Tensor]:
    """Return the positions of the patches, and the prefix tokens with their positions added."""
    width = arch.width
    prefix = [tensors.pop(name).reshape(-1, width) for name in ("cls", "dist", "reg") if name in tensors]
    if "pos" in tensors:
        positions = tensors.pop("pos").reshape(-1, width)
    else:
        positions = torch.zeros(arch.patches, width) if arch.rotary else sinusoids(arch.patches, width)[0]
    spare = len(positions) - arch.patches
    placed = {"pos_embed": positions[spare:][None]}
    if prefix:
        rows = torch.cat(prefix)
        placed["prefix_tokens"] = torch.cat([rows[:spare] + positions[:spare], rows[spare:]])[None]
    return placed


def interpolate_positions(
    positions: Tensor, trained: Architecture, wanted: Architecture, antialias: bool = False, mode: str = "bicubic"
) -> Tensor:
    """Interpolate positions [1, patches, C] to another resolution, each time step alone."""
    if trained.grid == wanted.grid:
        return positions
    grids = positions.reshape(-1, *trained.grid, trained.width).permute(0, 3, 1, 2)
    resized = F.interpolate(grids, size=wanted.grid, mode=mode, align_corners=False, antialias=antialias)
    return resized.permute(0, 2, 3, 1).reshape(1, -1, trained.width)


def sinusoids(positions: int, width: int) -> Tensor:
    """Return the fixed position embeddings of VideoMAE (Vaswani et al., 2017), [1, positions, width]."""
    angles = torch.arange(positions, dtype=torch.float64)[:, None] / 10000 ** (
        2 * torch.div(torch.arange(width), 2, rounding_mode="floor").double() / width
    )
    angles[:, 0::2], angles[:, 1::2] = angles[:, 0::2].sin(), angles[:, 1::2].cos()
    return angles.float()[None]


def grid_sinusoids(rows: int, columns: int, width: int) -> Tensor:
    """Return the fixed position embeddings of AIMv2's native models, [rows * columns, width].

    Sine and cosine of the column, then of the row, each at width / 4 falling speeds.
    """
    speeds = 10000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = [
        torch.outer(places.flatten(), speeds)
        for places in torch.meshgrid(
            torch.arange(columns, dtype=torch.float64), torch.arange(rows, dtype=torch.float64), indexing="xy"
        )
    ]
    return torch.cat([part for each in angles for part in (each.sin(), each.cos())], dim=1).float()


def _prefix_positions(parts: dict[str, Tensor], arch: Architecture) -> set[int]:
    """Return how many positions may belong to prefix tokens: none, class (and distillation), or all."""
    return {0, sum(name in parts for name in ("cls", "dist")), arch.prefix}
