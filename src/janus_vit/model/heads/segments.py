"""What heads of segmentation share: the class of each pixel, found in bands of rows so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.heads.base import DenseHead, Features

_BAND_VALUES = 1 << 22  # of one band: 16 MB
_CLASSES_OF_A_BYTE = 256


class SegmentHead(DenseHead):
    """Returns the class of each pixel, [B, height, width]: uint8, or int32 if there are more than 256 classes.

    At 640 px, the scores of 150 classes would be 245 MB. So a head makes them in bands of rows, from top to bottom.
    """

    def bands(self, features: Sequence[Features]) -> Iterator[Tensor]:
        """Yield the scores of the classes, [B, classes, some rows, width]."""
        raise NotImplementedError

    def forward(self, features: Sequence[Features]) -> Tensor:
        """See `DenseHead`."""
        return torch.cat([_classes(band) for band in self.bands(features)], dim=1)


def enlarged_bands(maps: Tensor, size: tuple[int, int], corners: bool = False) -> Iterator[Tensor]:
    """Enlarge maps bilinearly, as `F.interpolate` does, and yield bands of rows: [B, C, some rows, width].

    Args:
        maps: [B, C, rows, columns].
        size: height and width.
        corners: as `align_corners` of `F.interpolate`.
    """
    height, width = size
    above, below, share = _source_rows(maps.shape[2], height, corners, maps)
    step = max(1, _BAND_VALUES // (maps.shape[0] * maps.shape[1] * width))
    for first in range(0, height, step):
        some = slice(first, first + step)
        rows = torch.lerp(maps.index_select(2, above[some]), maps.index_select(2, below[some]), share[some, None])
        yield F.interpolate(rows, size=(rows.shape[2], width), mode="bilinear", align_corners=corners)


def _source_rows(rows: int, height: int, corners: bool, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two rows that each enlarged row lies between, and the share of the second one, [height] each."""
    index = torch.arange(height, dtype=torch.float64, device=like.device)
    if corners:
        source = index * ((rows - 1) / max(1, height - 1))
    else:
        source = ((index + 0.5) * (rows / height) - 0.5).clamp_min(0)
    above = source.floor().long().clamp_max(rows - 1)
    return above, (above + 1).clamp_max(rows - 1), (source - above).to(like.dtype)


def _classes(band: Tensor) -> Tensor:
    return band.argmax(1).to(torch.uint8 if band.shape[1] <= _CLASSES_OF_A_BYTE else torch.int32)
