"""The dense prediction transformer's head (Ranftl et al., ICCV 2021): depth and segments from several blocks.

Module names are those of the published checkpoints, in the form that transformers gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.model.heads.base import DenseHead, Features
from janus_vit.model.heads.segments import SegmentHead, enlarged_bands

IGNORE, ADD, PROJECT = "ignore", "add", "project"
READOUTS = (IGNORE, ADD, PROJECT)


@dataclass(frozen=True, slots=True)
class DptSettings:
    """The shape of a DPT head.

    Attributes:
        width: number of values in a token.
        neck: channels of each block's features after the reassembly.
        factors: how much each block's grid is enlarged, or made smaller.
        fusion: channels of the fused features.
        readout: how the class token joins the patches: "ignore", "add" or "project".
        batch_norm: whether the residual units of the fusion have batch norms.
        bias: whether their convolutions have biases.
        exact_sizes: whether a fusion enlarges to the size of the next grid, as in Depth Anything, or always twofold.
        index: which of the fused features the last layers read.
    """

    width: int
    neck: tuple[int, ...]
    factors: tuple[float, ...]
    fusion: int
    readout: str = IGNORE
    batch_norm: bool = False
    bias: bool = True
    exact_sizes: bool = False
    index: int = -1


class _Reassemble(nn.Module):
    def __init__(self, width: int, channels: int, factor: float) -> None:
        super().__init__()
        self.projection = nn.Conv2d(width, channels, 1)
        self.resize: nn.Module = nn.Identity()
        if factor > 1:
            self.resize = nn.ConvTranspose2d(channels, channels, int(factor), int(factor))
        elif factor < 1:
            self.resize = nn.Conv2d(channels, channels, 3, stride=int(1 / factor), padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.resize(self.projection(x))
        return out


class _ReassembleStage(nn.Module):
    def __init__(self, settings: DptSettings) -> None:
        super().__init__()
        pairs = zip(settings.neck, settings.factors, strict=True)
        self.layers = nn.ModuleList(_Reassemble(settings.width, *pair) for pair in pairs)
        self._readout = settings.readout
        if self._readout == PROJECT:
            width = settings.width
            self.readout_projects = nn.ModuleList(
                nn.Sequential(nn.Linear(2 * width, width), nn.GELU()) for _ in settings.neck
            )

    def forward(self, features: Sequence[Features]) -> list[Tensor]:
        return [layer(self._joined(index, features[index])) for index, layer in enumerate(self.layers)]

    def _joined(self, index: int, features: Features) -> Tensor:
        """Join the class token with each patch: [B, C, rows, columns]."""
        grid, readout = features.patches, features.prefix[:, 0]
        if self._readout == ADD:
            return grid + readout[:, :, None, None]
        if self._readout == PROJECT:
            both = torch.cat([grid, readout[:, :, None, None].expand_as(grid)], dim=1)
            joined: Tensor = self.readout_projects[index](both.movedim(1, -1))
            return joined.movedim(-1, 1)
        return grid


class _ResidualUnit(nn.Module):
    def __init__(self, settings: DptSettings) -> None:
        super().__init__()
        channels = settings.fusion
        self.convolution1 = nn.Conv2d(channels, channels, 3, padding=1, bias=settings.bias)
        self.convolution2 = nn.Conv2d(channels, channels, 3, padding=1, bias=settings.bias)
        if settings.batch_norm:
            self.batch_norm1 = nn.BatchNorm2d(channels)
            self.batch_norm2 = nn.BatchNorm2d(channels)
        self._normed = settings.batch_norm

    def forward(self, x: Tensor) -> Tensor:
        out = self.convolution1(F.relu(x))
        out = self.batch_norm1(out) if self._normed else out
        out = self.convolution2(F.relu(out))
        out = self.batch_norm2(out) if self._normed else out
        residual: Tensor = out + x
        return residual


class _Fusion(nn.Module):
    def __init__(self, settings: DptSettings) -> None:
        super().__init__()
        self.projection = nn.Conv2d(settings.fusion, settings.fusion, 1)
        self.residual_layer1 = _ResidualUnit(settings)
        self.residual_layer2 = _ResidualUnit(settings)

    def forward(self, x: Tensor, residual: Tensor | None, size: tuple[int, int] | None) -> Tensor:
        """Add the features of an earlier block, and enlarge to a size, or twofold."""
        if residual is not None:
            if x.shape != residual.shape:
                residual = F.interpolate(residual, size=x.shape[2:], mode="bilinear", align_corners=False)
            x = x + self.residual_layer1(residual)
        x = self.residual_layer2(x)
        scale = 2.0 if size is None else None
        x = F.interpolate(x, size=size, scale_factor=scale, mode="bilinear", align_corners=True)
        out: Tensor = self.projection(x)
        return out


class _FusionStage(nn.Module):
    def __init__(self, settings: DptSettings) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Fusion(settings) for _ in settings.neck)
        self._exact_sizes = settings.exact_sizes

    def forward(self, grids: Sequence[Tensor]) -> list[Tensor]:
        deepest_first = list(reversed(grids))
        fused: list[Tensor] = []
        for layer, grid, following in zip_longest(self.layers, deepest_first, deepest_first[1:]):
            size = following.shape[2:] if self._exact_sizes and following is not None else None
            fused.append(layer(fused[-1], grid, size) if fused else layer(grid, None, size))
        return fused


class DptNeck(nn.Module):
    """Reassemble and fuse the features of several blocks."""

    def __init__(self, settings: DptSettings) -> None:
        super().__init__()
        self.reassemble_stage = _ReassembleStage(settings)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, settings.fusion, 3, padding=1, bias=False) for channels in settings.neck
        )
        self.fusion_stage = _FusionStage(settings)

    def forward(self, features: Sequence[Features]) -> list[Tensor]:
        """Features of the blocks, the last one last, to fused grids, the finest last."""
        grids = self.reassemble_stage(features)
        fused: list[Tensor] = self.fusion_stage([conv(grid) for conv, grid in zip(self.convs, grids, strict=True)])
        return fused


class DptHead(DenseHead):
    """Depths: a neck, and layers that read one of its fused grids.

    Args:
        settings: of the neck.
        layers: what reads the fused grid, such as `DptDepthLayers`.
    """

    def __init__(self, settings: DptSettings, layers: nn.Module) -> None:
        super().__init__()
        self.neck = DptNeck(settings)
        self.head = layers
        self.settings = f"{settings!r} {layers!r}"
        self._index = settings.index

    def forward(self, features: Sequence[Features]) -> Tensor:
        """See `DenseHead`: depths [B, height, width]."""
        return self._read(features)

    def _read(self, features: Sequence[Features]) -> Tensor:
        out: Tensor = self.head(self.neck(features)[self._index])
        return out


class DptSegmentHead(SegmentHead, DptHead):
    """Classes: as `DptHead`, with `DptSegmentLayers`."""

    def bands(self, features: Sequence[Features]) -> Iterator[Tensor]:
        """See `SegmentHead`: logits."""
        logits = self._read(features)
        height, width = logits.shape[2:]
        return enlarged_bands(logits, (2 * height, 2 * width), corners=True)


class DepthAnythingLayers(nn.Module):
    """The last layers of Depth Anything: depth at the size of the input.

    Args:
        channels: of the fused grid.
        hidden: channels of the second convolution.
        size: height and width of the output in pixels.
        metric: whether depths are in metres, at most `largest`, instead of relative.
        largest: what the output is multiplied with.
    """

    def __init__(self, channels: int, hidden: int, size: tuple[int, int], metric: bool, largest: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(channels // 2, hidden, 3, padding=1)
        self.conv3 = nn.Conv2d(hidden, 1, 1)
        self._size, self._metric, self._largest = size, metric, largest

    def extra_repr(self) -> str:
        """Settings beside the layers."""
        return f"size={self._size}, metric={self._metric}, largest={self._largest}"

    def forward(self, x: Tensor) -> Tensor:
        """Fused grid to depths [B, height, width]."""
        x = F.interpolate(self.conv1(x), size=self._size, mode="bilinear", align_corners=True)
        x = self.conv3(F.relu(self.conv2(x)))
        depths: Tensor = (torch.sigmoid(x) if self._metric else F.relu(x)) * self._largest
        return depths.squeeze(1)


class DptDepthLayers(nn.Module):
    """The last layers of a DPT for depth: depth at twice the size of the fused grid."""

    def __init__(self, channels: int, projected: bool) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, channels, 3, padding=1) if projected else None
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(channels // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Fused grid to depths [B, height, width]."""
        x = x if self.projection is None else F.relu(self.projection(x))
        depths: Tensor = self.head(x)
        return depths.squeeze(1)


class DptSegmentLayers(nn.Module):
    """The last layers of a DPT for segmentation: logits of each class at half of the height and width."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Identity(),  # a dropout while training
            nn.Conv2d(channels, classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Fused grid to logits [B, classes, height, width]."""
        logits: Tensor = self.head(x)
        return logits
