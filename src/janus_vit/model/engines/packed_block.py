"""A transformer block on packed weights: the arithmetic of `layers.Block`, with scales folded into weights."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.model.engines.block_variant import BlockVariant
from janus_vit.model.layers import QUICK, Block, GatedMlp, LayerScale, Linear, Mlp
from janus_vit.model.memory import release_pages, trim
from janus_vit.model.merging import match_tokens, merge_tokens


class Product(Protocol):
    """A linear layer on packed weights; what it takes is float32 or what another one gave."""

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product of x [..., inputs] plus a residual [..., outputs], float32."""


class Packing(Protocol):
    """How weights are packed."""

    def __call__(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> Product:
        """activation(x W' + b), the activation one of "gelu", "gelu_tanh", "silu" or none."""


class PackedBlock:
    """Stands in for a `layers.Block`; tokens in and out are float32.

    Args:
        block: the plain one. pack: makes the linear layers. dtype: of attention.
        keep: False leaves the plain one without its linear layers' weights. way: how it computes; may be set anew.
    """

    def __init__(self, block: Block, pack: Packing, dtype: torch.dtype, keep: bool, way: BlockVariant) -> None:
        self._dtype, self.way = dtype, way
        self._norm1, self._norm2 = block.norm1, block.norm2
        qkv, proj, mlp = block.attn.qkv, block.attn.proj, block.mlp
        self._heads, width = block.attn.heads, proj.in_features
        scale = torch.ones(3 * width, device=proj.weight.device)
        scale[:width] = (width // self._heads) ** -0.5  # of the scores, on the queries
        self._qkv = pack(*_rows(qkv, scale))
        self._proj = pack(*_rows(proj, _gamma(block.ls1)))
        self._gated = isinstance(mlp, GatedMlp)
        weight, bias = _rows(mlp.fc2, _gamma(block.ls2))
        if isinstance(mlp, Mlp) and mlp.name == "quick_gelu":  # silu(1.702 x) / 1.702
            self._fc1 = pack(mlp.fc1.weight * QUICK, mlp.fc1.bias * QUICK, "silu")
            weight = weight / QUICK
        else:
            self._fc1 = pack(mlp.fc1.weight, mlp.fc1.bias, mlp.name if isinstance(mlp, Mlp) else None)
        self._fc2 = pack(weight, bias)
        for linear in (qkv, proj, mlp.fc1, mlp.fc2):
            release_weight(linear, keep)
        trim()

    def __call__(
        self,
        x: Tensor,
        sizes: Tensor,
        bias_sizes: Tensor | None,
        merges: int,
        protected: int,
        head_tokens: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `layers.Block.forward`."""
        if bias_sizes is None:
            x = aligned(x) if self.way.align else x
        elif self.way.few_shapes:
            x, bias_sizes = padded(x), padded(bias_sizes)
        x, sizes = self._attention_half(x, sizes, bias_sizes, merges, protected, head_tokens)
        return self._mlp_half(x)[:, : sizes.shape[1]], sizes

    def _attention_half(
        self, x: Tensor, sizes: Tensor, bias_sizes: Tensor | None, merges: int, protected: int, head_tokens: int | None
    ) -> tuple[Tensor, Tensor]:
        batch, count, width = x.shape
        qkv = self._qkv(self._norm1(x)).to(self._dtype).view(batch, count, 3, self._heads, width // self._heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, T, head_width]
        there = sizes.shape[1]
        if bias_sizes is None:  # nothing keeps padding from being attended to but that it is left out
            key, value = key[:, :, :there], value[:, :, :there]
        if head_tokens is not None:
            query, x, sizes = query[:, :, :head_tokens], x[:, :head_tokens].contiguous(), sizes[:, :head_tokens]
        x = self._proj.plus(self.way.attend(query, key, value, bias_sizes), x)
        if merges:
            matching = match_tokens(key[:, :, :there].float(), merges, protected)
            x, sizes = merge_tokens(x[:, :there], sizes, matching)
            x = padded(x) if self.way.few_shapes else x
        return x, sizes

    def _mlp_half(self, x: Tensor) -> Tensor:
        hidden = self._fc1(self._norm2(x))
        if self._gated:
            gate, gated = hidden.chunk(2, dim=-1)
            hidden = F.silu(gate) * gated
        return self._fc2.plus(hidden, x)


def aligned(values: Tensor) -> Tensor:
    """Values [B, T, ...] of unmerged tokens, followed by zeros: up to a multiple of 8 where tokens are many.

    oneDNN divides other numbers of rows badly, among them 577, a class token and 24 x 24 patches: a few percent of the
    time of a product.
    """
    return _followed_by_zeros(values, min(8, _sixteenth(values)))


def padded(values: Tensor) -> Tensor:
    """Values [B, T, ...] of merged tokens, followed by zeros: at most a sixteenth more, so that few T are ever met.

    Tokens of size zero, which nothing attends to. oneDNN makes and keeps half a megabyte for each product at each T.
    """
    return _followed_by_zeros(values, _sixteenth(values))


def _sixteenth(values: Tensor) -> int:
    """The largest power of two that is at most a sixteenth of the tokens, at least 1."""
    return 1 << max(0, values.shape[1].bit_length() - 5)


def _followed_by_zeros(values: Tensor, step: int) -> Tensor:
    batch, count, *rest = values.shape
    missing = -count % step
    # Half the time of F.pad, which writes the zeros of all rows first.
    return torch.cat([values, values.new_zeros(batch, missing, *rest)], dim=1) if missing else values


def release_weight(layer: nn.Linear | nn.Conv2d | nn.Conv3d, keep: bool) -> None:
    """Let go of a weight that is packed now: of what memory its file takes, and, not to keep it, of itself."""
    release_pages(layer.weight)
    if not keep:
        layer.weight = nn.Parameter(torch.empty_like(layer.weight, device="meta"), requires_grad=False)


def _gamma(scale: nn.Module) -> Tensor | None:
    return scale.gamma if isinstance(scale, LayerScale) else None


def _rows(linear: Linear, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight and bias that give `scale` [outputs] times what the layer gives."""
    if scale is None:
        return linear.weight, linear.bias
    return linear.weight * scale[:, None], linear.bias * scale
