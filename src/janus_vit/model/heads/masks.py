"""Segmentation by masks: learned queries that each find a class and a mask (EoMT, Kerssies et al., CVPR 2025).

Module names are those that transformers gives the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from janus_vit.model.heads.base import Features
from janus_vit.model.heads.segments import SegmentHead, enlarged_bands
from janus_vit.model.layers import ACTIVATIONS

_EPS = 1e-6  # of the norms between the grid and the masks


class MaskHead(SegmentHead):
    """Classes from queries. A score is the sum of the masks, each weighted by the probability of the class.

    Args:
        width: number of values in a token.
        classes: number of classes, without the one that stands for no object.
        queries: number of queries, the first ones of the prefix.
        enlargements: how often the grid is doubled before it is compared with the queries.
        activation: a key of `ACTIVATIONS`.
        size: height and width of the output in pixels.
    """

    def __init__(
        self, width: int, classes: int, queries: int, enlargements: int, activation: str, size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.upscale_block = _Enlarge(width, enlargements, activation)
        self.mask_head = _MaskMlp(width, activation)
        self.class_predictor = nn.Linear(width, classes + 1)
        self.settings = f"queries={queries}, activation={activation}, size={size}"
        self._queries, self._size = queries, size

    def bands(self, features: Sequence[Features]) -> Iterator[Tensor]:
        """See `SegmentHead`: scores of at least 0, which do not sum to 1."""
        queries, grid = features[-1].prefix[:, : self._queries], features[-1].patches
        shares = self.class_predictor(queries).softmax(-1)[..., :-1]  # [B, queries, classes]
        masks = torch.einsum("bqc,bchw->bqhw", self.mask_head(queries), self.upscale_block(grid))
        for band in enlarged_bands(masks, self._size):
            yield torch.einsum("bqc,bqhw->bchw", shares, band.sigmoid_())


class _Enlarge(nn.Module):
    def __init__(self, width: int, times: int, activation: str) -> None:
        super().__init__()
        self.block = nn.ModuleList(_Double(width, activation) for _ in range(times))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.block:
            x = layer(x)
        return x


class _Double(nn.Module):
    """Doubles the rows and columns of a grid."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.layernorm2d = nn.LayerNorm(width, eps=_EPS)
        self._activation: Callable[[Tensor], Tensor] = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self._activation(self.conv1(x)))
        normed: Tensor = self.layernorm2d(x.movedim(1, -1))
        return normed.movedim(-1, 1)


class _MaskMlp(nn.Module):
    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = (nn.Linear(width, width) for _ in range(3))
        self._activation: Callable[[Tensor], Tensor] = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self._activation(self.fc2(self._activation(self.fc1(x))))
        out: Tensor = self.fc3(hidden)
        return out
