"""Rotary positions of a family: the frequencies of its channels, and the order of channels that our network wants."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from janus_vit.model.rotary import EACH, SHARED, UNPAIRED
from janus_vit.model.vit import Architecture

MIXED_FREQUENCIES = "rope.freqs"  # timm's name of the learned frequencies


@dataclass(frozen=True, slots=True)
class RotaryFacts:
    """How a family turns queries and keys.

    Half of the angles grow with the row and half with the column, at falling speeds.

    Attributes:
        temperature: the slowest speeds are near 1 / temperature.
        centred: whether positions are from -2 pi to 2 pi over the image, at the centres of patches (DINOv3).
        columns_first: whether the first half of the angles is that of columns, not rows.
        offset: position of the first patch in patches.
        reference: rows and columns of the grid that positions are scaled to; None for the model's own.
        interleaved: whether neighbouring channels make a pair, not channels half a head apart.
        of_clips: whether time, rows and columns turn a third of the channels each (V-JEPA 2).
        mixed: whether each head of each block has learned speeds along both axes, in `MIXED_FREQUENCIES`.
    """

    temperature: float = 10_000.0
    centred: bool = False
    columns_first: bool = False
    offset: float = 0.0
    reference: tuple[int, int] | None = None
    interleaved: bool = True
    mixed: bool = False
    of_clips: bool = False

    @property
    def kind(self) -> str:
        """One of `ROTARIES`."""
        return EACH if self.mixed else UNPAIRED if self.of_clips else SHARED


def place_rotary(tensors: dict[str, Tensor], facts: RotaryFacts, arch: Architecture) -> None:
    """Add the frequencies to the tensors of a network, and put the channels of queries and keys in its order.

    Args:
        tensors: tensors by their names in the network; changed.
        facts: of the family.
        arch: of the network at the size that it runs at.
    """
    head_width = arch.width // arch.heads
    if facts.of_clips:
        tensors["rotary.frequencies"] = _thirds(facts.temperature, head_width)
    elif not facts.mixed:
        tensors["rotary.frequencies"] = _axial(facts, arch.grid, head_width)
    elif _has_shape(tensors, MIXED_FREQUENCIES, 2, arch.depth, arch.heads, head_width // 2):
        tensors["rotary.frequencies"] = _mixed(tensors.pop(MIXED_FREQUENCIES))
    for block in range(0 if facts.interleaved else arch.depth):
        name = f"blocks.{block}.attn.qkv"
        for kind, columns in (("weight", (arch.width,)), ("bias", ())):
            if _has_shape(tensors, f"{name}.{kind}", 3 * arch.width, *columns):
                tensors[f"{name}.{kind}"] = _paired(tensors[f"{name}.{kind}"], arch)


def _has_shape(tensors: dict[str, Tensor], name: str, *shape: int) -> bool:
    """Whether there is such a tensor. Others are listed when the network is built."""
    return name in tensors and tensors[name].shape == shape


def _axial(facts: RotaryFacts, grid: tuple[int, int], head_width: int) -> Tensor:
    """Frequencies [1, rows and columns and start, 1, head_width / 2]."""
    count = head_width // 4
    speeds = facts.temperature ** -(torch.arange(count, dtype=torch.float64) / count)
    (row_step, row_start), (column_step, column_start) = (_line(facts, axis, side) for axis, side in enumerate(grid))
    still = torch.zeros_like(speeds)
    rows, columns = [speeds * row_step, still], [still, speeds * column_step]
    start = [speeds * row_start, speeds * column_start]
    if facts.columns_first:
        rows, columns, start = (part[::-1] for part in (rows, columns, start))
    pairs = torch.stack([torch.cat(part) for part in (rows, columns, start)])
    return pairs[None, :, None].float()


def _line(facts: RotaryFacts, axis: int, side: int) -> tuple[float, float]:
    """Step from patch to patch, and position of the first one, along an axis with `side` patches."""
    if facts.centred:
        return 4 * math.pi / side, 2 * math.pi * (1 / side - 1)
    step = facts.reference[axis] / side if facts.reference else 1.0
    return step, facts.offset * step


def _thirds(temperature: float, head_width: int) -> Tensor:
    """Frequencies [1, time and rows and columns and start, 1, head_width], as V-JEPA 2 was trained.

    The two channels of a pair have different angles there. The last channels are not turned.
    """
    third = 2 * (head_width // 3 // 2)
    speeds = temperature ** -(torch.arange(third // 2, dtype=torch.float64) / (third / 2))
    found = torch.zeros(4, head_width, dtype=torch.float64)
    for axis in range(3):
        found[axis, axis * third : (axis + 1) * third] = torch.cat([speeds, speeds])
    return found[None, :, None].float()


def _mixed(learned: Tensor) -> Tensor:
    """Turn speeds along columns and rows, [2, depth, heads, head_width / 2], into [depth, 3, heads, head_width / 2]."""
    columns, rows = learned
    return torch.stack([rows, columns, torch.zeros_like(rows)], dim=1)


def _paired(fused: Tensor, arch: Architecture) -> Tensor:
    """Put the channels of queries and keys that make a pair, which are half a head apart, beside each other."""
    parts = fused.reshape(3, arch.heads, -1, *fused.shape[1:])
    first, second = parts[:2].chunk(2, dim=2)
    turned = torch.stack([first, second], dim=3).flatten(2, 3)
    return torch.cat([turned, parts[2:]]).flatten(0, 2).contiguous()
