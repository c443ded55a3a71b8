"""A transformer block on packed weights: the arithmetic of `layers.Block`, with scales folded into the weights."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.model.engines.block_variant import BlockVariant
from janus_vit.model.layers import QUICK, Block, GatedMlp, LayerScale, Linear, Mlp
from janus_vit.model.memory import release_pages, trim
from janus_vit.model.merging import Matching, match_tokens, merge_tokens
from janus_vit.model.rotary import split_heads


class Product(Protocol):
    """A linear layer on packed weights. It takes float32, or the output of another packed layer."""

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """Add the product of x [..., inputs] to a residual [..., outputs] in float32."""


class Packing(Protocol):
    """A function that packs the weights of one linear layer."""

    def __call__(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> Product:
        """Make the layer activation(x W' + b); the activation is "gelu", "gelu_tanh", "silu" or None."""


class PackedBlock:
    """Replace a `layers.Block`. Tokens enter and leave as float32.

    Args:
        block: the block of the model.
        pack: makes the linear layers.
        dtype: the type of attention.
        keep: False removes the weights of the linear layers from the block.
        variant: how it computes; may be set again later.
    """

    def __init__(self, block: Block, pack: Packing, dtype: torch.dtype, keep: bool, variant: BlockVariant) -> None:
        self._dtype, self.variant = dtype, variant
        self._norm1, self._norm2 = block.norm1, block.norm2
        self._attn_norm, self._mlp_norm = block.attn.norm, block.mlp.norm
        qkv, proj, mlp = block.attn.qkv, block.attn.proj, block.mlp
        self._heads, width = block.attn.heads, proj.in_features
        scale = torch.ones(3 * width, device=proj.weight.device)
        scale[:width] = (width // self._heads) ** -0.5  # attention's scale of the scores, applied to the queries
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
        rotation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Matching | None]:
        """See `layers.Block.forward`."""
        if bias_sizes is None:
            x = aligned(x) if self.variant.align else x
        elif self.variant.few_shapes:
            x, bias_sizes = padded(x), padded(bias_sizes)
        x, sizes, matching = self._attention_half(x, sizes, bias_sizes, merges, protected, head_tokens, rotation)
        return self._mlp_half(x)[:, : sizes.shape[1]], sizes, matching

    def _attention_half(
        self,
        x: Tensor,
        sizes: Tensor,
        bias_sizes: Tensor | None,
        merges: int,
        protected: int,
        head_tokens: int | None,
        rotation: Tensor | None,
    ) -> tuple[Tensor, Tensor, Matching | None]:
        batch, count, width = x.shape
        qkv = self._qkv(self._norm1(x)).view(batch, count, 3, self._heads, width // self._heads)
        # Turned before they are rounded to the type of attention.
        parts = split_heads(qkv.to(self._dtype) if rotation is None else qkv, rotation)
        query, key, value = (part.to(self._dtype).transpose(1, 2) for part in parts)  # each [B, heads, T, head_width]
        there = sizes.shape[1]
        if bias_sizes is None:  # without sizes nothing masks the padding, so drop it
            key, value = key[:, :, :there], value[:, :, :there]
        if head_tokens is not None:
            query, x, sizes = query[:, :, :head_tokens], x[:, :head_tokens].contiguous(), sizes[:, :head_tokens]
        x = self._proj.plus(self._normed(self._attn_norm, self.variant.attend(query, key, value, bias_sizes)), x)
        matching = match_tokens(key[:, :, :there].float(), merges, protected) if merges else None
        if matching is not None:
            x, sizes = merge_tokens(x[:, :there], sizes, matching)
            x = padded(x) if self.variant.few_shapes else x
        return x, sizes, matching

    def _mlp_half(self, x: Tensor) -> Tensor:
        hidden = self._fc1(self._norm2(x))
        if self._gated:
            gate, gated = hidden.chunk(2, dim=-1)
            hidden = F.silu(gate) * gated
        return self._fc2.plus(self._normed(self._mlp_norm, hidden), x)

    @staticmethod
    def _normed(norm: nn.Module, values: Tensor) -> Tensor:
        return values if isinstance(norm, nn.Identity) else norm(values.float())


def aligned(values: Tensor) -> Tensor:
    """Pad values [B, T, ...] of unmerged tokens with zeros, up to a multiple of 8 if there are many tokens.

    oneDNN splits other numbers of rows badly, which costs a few percent of a product's time. One such number is 577,
    a class token and 24 x 24 patches.
    """
    return _followed_by_zeros(values, min(8, _sixteenth(values)))


def padded(values: Tensor) -> Tensor:
    """Pad values [B, T, ...] of merged tokens with zeros, by at most a sixteenth, so that only few T occur.

    No token attends to the padding, because its size is zero. oneDNN caches half a megabyte for each product and T.
    """
    return _followed_by_zeros(values, _sixteenth(values))


def _sixteenth(values: Tensor) -> int:
    """Return the largest power of two that is at most a sixteenth of the tokens, at least 1."""
    return 1 << max(0, values.shape[1].bit_length() - 5)


def _followed_by_zeros(values: Tensor, step: int) -> Tensor:
    batch, count, *rest = values.shape
    missing = -count % step
    # Takes half the time of F.pad, which first fills all rows with zeros.
    return torch.cat([values, values.new_zeros(batch, missing, *rest)], dim=1) if missing else values


def release_weight(layer: nn.Linear | nn.Conv2d | nn.Conv3d, keep: bool) -> None:
    """Free the original weight after packing: its file's pages, and, unless `keep` is set, the tensor itself."""
    release_pages(layer.weight)
    if not keep:
        layer.weight = nn.Parameter(torch.empty_like(layer.weight, device="meta"), requires_grad=False)


def _gamma(scale: nn.Module) -> Tensor | None:
    return scale.gamma if isinstance(scale, LayerScale) else None


def _rows(linear: Linear, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a layer whose output is multiplied by `scale` [outputs]."""
    if scale is None:
        return linear.weight, linear.bias
    return linear.weight * scale[:, None], linear.bias * scale
