"""Heads of a few layers: features as they are, classes of pixels, boxes of detection tokens, maps of key points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.model.heads.base import DenseHead, Features
from janus_vit.model.heads.segments import SegmentHead, enlarged_bands

BOX_VALUES = 4


class FeatureHead(DenseHead):
    """Returns the grid of the last block: [B, C, rows, columns]."""

    def forward(self, features: Sequence[Features]) -> Tensor:
        """See `DenseHead`."""
        return features[-1].patches


class LinearSegmentHead(SegmentHead):
    """Classes from one linear layer on the patches, whose logits are enlarged to the size of the input.

    Args:
        inputs: number of values of a patch, those of all blocks that it reads together.
        classes: number of classes.
        with_norm: whether a batch norm comes first.
        size: height and width of the output in pixels.
    """

    def __init__(self, inputs: int, classes: int, with_norm: bool, size: tuple[int, int]) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs) if with_norm else None
        self.conv_seg = nn.Conv2d(inputs, classes, 1)
        self.settings = f"size={size}"
        self._size = size

    def bands(self, features: Sequence[Features]) -> Iterator[Tensor]:
        """See `SegmentHead`: logits."""
        x = torch.cat([each.patches for each in features], dim=1)
        return enlarged_bands(self.conv_seg(x if self.bn is None else self.bn(x)), self._size)


class DetectionHead(DenseHead):
    """Classes and boxes from detection tokens (YOLOS, Fang et al., NeurIPS 2021).

    Args:
        width: number of values in a token.
        classes: number of classes, without the one that stands for no object.
        queries: number of detection tokens, the last ones of the prefix.
    """

    def __init__(self, width: int, classes: int, queries: int) -> None:
        super().__init__()
        self.class_labels_classifier = _Mlp(width, classes + 1)
        self.bbox_predictor = _Mlp(width, BOX_VALUES)
        self.settings = f"queries={queries}"
        self._queries = queries

    def forward(self, features: Sequence[Features]) -> Tensor:
        """See `DenseHead`: [B, queries, classes + 1 + 4] logits and boxes: centre, width and height, in 0..1."""
        tokens = features[-1].prefix[:, -self._queries :]
        boxes = self.bbox_predictor(tokens).sigmoid()
        return torch.cat([self.class_labels_classifier(tokens), boxes], dim=-1)


class _Mlp(nn.Module):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in ((width, width), (width, width), (width, outputs)))

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        out: Tensor = last(F.relu(second(F.relu(first(x)))))
        return out


class SimplePoseHead(DenseHead):
    """Heat maps of key points: enlarge, then one convolution (ViTPose's simple decoder, Xu et al., NeurIPS 2022)."""

    def __init__(self, width: int, keypoints: int, scale: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, keypoints, 3, padding=1)
        self.settings = f"scale={scale}"
        self._scale = scale

    def forward(self, features: Sequence[Features]) -> Tensor:
        """See `DenseHead`: [B, keypoints, height, width]."""
        grid = F.relu(features[-1].patches)
        heat: Tensor = self.conv(F.interpolate(grid, scale_factor=self._scale, mode="bilinear", align_corners=False))
        return heat


class ClassicPoseHead(DenseHead):
    """Heat maps of key points through two deconvolutions (ViTPose's classic decoder)."""

    def __init__(self, width: int, keypoints: int) -> None:
        super().__init__()
        channels = 256
        self.deconv1 = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1, bias=False)
        self.batchnorm1 = nn.BatchNorm2d(channels)
        self.deconv2 = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)
        self.batchnorm2 = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, keypoints, 1)

    def forward(self, features: Sequence[Features]) -> Tensor:
        """See `DenseHead`: [B, keypoints, height, width]."""
        x = F.relu(self.batchnorm1(self.deconv1(features[-1].patches)))
        heat: Tensor = self.conv(F.relu(self.batchnorm2(self.deconv2(x))))
        return heat
