"""Weights of a block as the GPU engine multiplies them: scales folded in, heads plain and widened for sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.model.engines.gpu.operations import Norm
from janus_vit.model.engines.gpu.ragged import SIZE_CHANNELS, widened
from janus_vit.model.layers import QUICK, Block, GatedMlp, LayerScale


@dataclass(frozen=True)
class HeadWeights:
    """Linear layers of attention for one head width.

    Attributes:
        width: of a head, with the channels for sizes if it has them.
        qkv: [3 * heads * width, C], queries scaled.
        qkv_bias: [3 * heads * width].
        proj: [C, heads * width], without its bias.
    """

    width: int
    qkv: Tensor
    qkv_bias: Tensor
    proj: Tensor


@dataclass(frozen=True)
class BlockWeights:
    """A block's parameters. Biases of both branches are float32: they are added to the residual stream.

    Attributes:
        heads: heads of attention.
        head_width: of a head without channels for sizes.
        plain: attention where all sizes are 1.
        wide: attention whose heads have channels for sizes, which are 1 in queries and 0 in keys and values.
        proj_bias: [C].
        norm1: before attention.
        norm2: before the MLP.
        fc1: [hidden, C].
        fc1_bias: [hidden].
        fc2: [C, hidden], without its bias.
        fc2_bias: [C].
        activation: a key of `layers.AFTER_LINEAR`; None for a gated MLP.
    """

    heads: int
    head_width: int
    plain: HeadWeights
    wide: HeadWeights
    proj_bias: Tensor
    norm1: Norm
    norm2: Norm
    fc1: Tensor
    fc1_bias: Tensor
    fc2: Tensor
    fc2_bias: Tensor
    activation: str | None


@torch.no_grad()
def block_weights(block: Block, dtype: torch.dtype, device: torch.device) -> BlockWeights:
    """Copy a block's parameters to the device.

    Args:
        dtype: of the factors of products.
    """
    attention, mlp = block.attn, block.mlp
    heads, width = attention.heads, attention.proj.in_features // attention.heads
    scale1, scale2 = _gamma(block.ls1), _gamma(block.ls2)
    plain = _plain_heads(block, scale1)
    fc1, fc1_bias, fc2 = mlp.fc1.weight.float(), mlp.fc1.bias.float(), mlp.fc2.weight * scale2[:, None]
    activation = None if isinstance(mlp, GatedMlp) else mlp.name
    if activation == "quick_gelu":  # silu(1.702 x) / 1.702
        fc1, fc1_bias, fc2, activation = fc1 * QUICK, fc1_bias * QUICK, fc2 / QUICK, "silu"
    return BlockWeights(
        heads=heads,
        head_width=width,
        plain=_moved(plain, dtype, device),
        wide=_moved(_widened(plain, heads), dtype, device),
        proj_bias=_copied(attention.proj.bias * scale1, torch.float32, device),
        norm1=_norm(block.norm1, device),
        norm2=_norm(block.norm2, device),
        fc1=_copied(fc1, dtype, device),
        fc1_bias=_copied(fc1_bias, dtype, device),
        fc2=_copied(fc2, dtype, device),
        fc2_bias=_copied(mlp.fc2.bias * scale2, torch.float32, device),
        activation=activation,
    )


def _plain_heads(block: Block, scale: Tensor) -> HeadWeights:
    qkv, proj = block.attn.qkv, block.attn.proj
    width = proj.in_features // block.attn.heads
    factors = torch.ones(qkv.out_features, device=qkv.weight.device)
    factors[: proj.in_features] = width**-0.5  # of the scores, on the queries
    return HeadWeights(width, qkv.weight * factors[:, None], qkv.bias * factors, proj.weight * scale[:, None])


def _widened(plain: HeadWeights, heads: int) -> HeadWeights:
    """The same with channels for sizes in each head."""
    more = widened(plain.width) - plain.width
    qkv = F.pad(plain.qkv.view(3, heads, plain.width, -1), (0, 0, 0, more)).flatten(0, 2)
    bias = F.pad(plain.qkv_bias.view(3, heads, plain.width), (0, more))
    bias[0, :, plain.width : plain.width + SIZE_CHANNELS] = 1.0
    proj = F.pad(plain.proj.view(-1, heads, plain.width), (0, more)).flatten(1)
    return HeadWeights(plain.width + more, qkv, bias.flatten(), proj)


def _moved(heads: HeadWeights, dtype: torch.dtype, device: torch.device) -> HeadWeights:
    parts = (heads.qkv, heads.qkv_bias, heads.proj)
    qkv, bias, proj = (_copied(part, dtype, device) for part in parts)
    return replace(heads, qkv=qkv, qkv_bias=bias, proj=proj)


def _norm(norm: nn.Module, device: torch.device) -> Norm:
    assert isinstance(norm, nn.LayerNorm)  # models with other norms are refused before
    weight, bias = (_copied(part, torch.float32, device) for part in (norm.weight, norm.bias))
    return Norm(weight, bias, norm.eps)


def _gamma(scale: nn.Module) -> Tensor:
    """A layer scale as a factor of each channel, or one factor for all."""
    return scale.gamma if isinstance(scale, LayerScale) else torch.ones(1)


def _copied(values: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A copy that shares nothing with the model, so that its memory can go."""
    return values.detach().to(device, dtype, copy=True).contiguous()
