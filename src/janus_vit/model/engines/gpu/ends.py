"""Stem and head of a model on a GPU, beside blocks that are elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.model.engines.packed_stem import PackedStem
from janus_vit.model.vit import VisionTransformer


class Ends:
    """What comes before and after the blocks: the head in float32, a stem of one convolution in `dtype`.

    Args:
        network: the model's, which is left as it is.
        dtype: of the stem's products.
        device: where it computes.
    """

    def __init__(self, network: VisionTransformer, dtype: torch.dtype, device: torch.device) -> None:
        copied = copy.deepcopy(network, {id(network.blocks): nn.ModuleList()})
        self._network = copied.to(device)
        self._dtype = dtype
        self._patches: Callable[[Tensor], Tensor] = self._convolved
        stem = self._network.stem
        if isinstance(stem, nn.Conv2d | nn.Conv3d):
            self._patches = PackedStem(stem, partial(_linear, dtype), keep=False)

    def embed(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, *input_shape] to tokens [B, T, C], float32."""
        return self._network.embed(pixels, self._patches)

    def logits(self, tokens: Tensor, sizes: Tensor) -> Tensor:
        """Tokens [B, T, C] and sizes [B, T] to logits [B, classes], float32."""
        return self._network.head_logits(tokens, sizes)

    def _convolved(self, pixels: Tensor) -> Tensor:
        """`VisionTransformer.patches`; in TF32, which torch allows convolutions by default, only in lower precision."""
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=self._dtype != torch.float32):
            return self._network.patches(pixels)


def _linear(dtype: torch.dtype, weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """A linear layer of weight [outputs, inputs] whose factors have that type."""
    low, low_bias = (part.detach().to(dtype, copy=True) for part in (weight, bias))
    return lambda x: F.linear(x.to(dtype), low, low_bias)
