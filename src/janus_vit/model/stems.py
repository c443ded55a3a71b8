"""Stems, which turn pixels into patch tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from janus_vit.model.layers import Conv2d, Conv3d

if TYPE_CHECKING:
    from janus_vit.model.vit import Architecture


def patch_stem(arch: Architecture) -> nn.Module:
    """Make a stem of one convolution without overlap."""
    if arch.frames > 1:
        kernel = (arch.tubelet, arch.patch_size, arch.patch_size)
        return Conv3d(arch.channels, arch.width, kernel, stride=kernel)
    return Conv2d(arch.channels, arch.width, arch.patch_size, stride=arch.patch_size)


def conv_stem(arch: Architecture) -> nn.Module:
    """Make a stem of 3x3 convolutions of stride 2 down to the patch grid, then 1x1 (Xiao et al., NeurIPS 2021)."""
    halvings = arch.patch_size.bit_length() - 1
    widths = [arch.channels, *(arch.width // 2 ** (halvings - i) for i in range(1, halvings + 1))]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [Conv2d(before, after, 3, stride=2, padding=1), nn.GELU()]
    return nn.Sequential(*layers, Conv2d(widths[-1], arch.width, 1))
