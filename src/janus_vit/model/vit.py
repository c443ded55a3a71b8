"""The Vision Transformer: stem, blocks that can merge tokens, head. Knows no split, network or policy.

Layout of the published ViT (Dosovitskiy et al., ICLR 2021) with fused qkv; optional layer scale (CaiT) and register
tokens (Darcet et al., ICLR 2024); class token or mean pooling; patch or small convolutional stem.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.model.merging import match_tokens, merge_tokens


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a Vision Transformer.

    Attributes:
        image_size: height and width of the input in pixels.
        patch_size: height and width of a patch; a convolutional stem needs a power of two.
        width: values in one token.
        depth: number of blocks.
        heads: attention heads.
        mlp_width: hidden values of the MLP.
        classes: number of labels.
        pooling: "class" reads the class token, "mean" averages the patches weighted by size.
        registers: extra learned tokens that are never merged or read.
        stem: "patch" is one strided convolution, "conv" a stack of small ones.
        layer_scale: whether each residual branch has a learned scale.
        norm_eps: epsilon of the layer norms.
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    classes: int
    pooling: str = "class"
    registers: int = 0
    stem: str = "patch"
    layer_scale: bool = False
    norm_eps: float = 1e-6

    @property
    def protected(self) -> int:
        """Leading tokens that never merge."""
        return self.registers + (1 if self.pooling == "class" else 0)

    @property
    def tokens(self) -> int:
        """Tokens that enter the first block."""
        return (self.image_size // self.patch_size) ** 2 + self.protected


class Attention(nn.Module):
    """Multi-head self-attention with fused qkv; also gives its keys, by which tokens are matched."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend over x [B, T, C]; sizes [B, T] add log(size) to the scores. Gives output and keys."""
        batch, count, width = x.shape
        qkv = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, T, head_width]
        bias = None if sizes is None else sizes.log().to(x.dtype)[:, None, None, :].expand(-1, -1, count, -1)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(out.transpose(1, 2).reshape(batch, count, width)), key


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] to [B, T, C]."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class LayerScale(nn.Module):
    """A learned scale a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block that merges tokens between attention and MLP."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(arch.width, eps=arch.norm_eps)
        self.attn = Attention(arch.width, arch.heads)
        self.ls1 = LayerScale(arch.width) if arch.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(arch.width, eps=arch.norm_eps)
        self.mlp = Mlp(arch.width, arch.mlp_width)
        self.ls2 = LayerScale(arch.width) if arch.layer_scale else nn.Identity()

    def forward(
        self, x: Tensor, sizes: Tensor, bias_sizes: Tensor | None, merges: int, protected: int
    ) -> tuple[Tensor, Tensor]:
        """Run the block on x [B, T, C] and sizes [B, T], removing `merges` tokens on the way."""
        attended, keys = self.attn(self.norm1(x), bias_sizes)
        x = x + self.ls1(attended)
        if merges:
            x, sizes = merge_tokens(x, sizes, match_tokens(keys, merges, protected))
        return x + self.ls2(self.mlp(self.norm2(x))), sizes


def patch_stem(arch: Architecture) -> nn.Module:
    """One convolution whose stride is its size."""
    return nn.Conv2d(3, arch.width, arch.patch_size, stride=arch.patch_size)


def conv_stem(arch: Architecture) -> nn.Module:
    """3x3 convolutions of stride 2 down to the patch grid, then 1x1 (Xiao et al., NeurIPS 2021)."""
    halvings = arch.patch_size.bit_length() - 1
    widths = [3, *(arch.width // 2 ** (halvings - i) for i in range(1, halvings + 1))]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], arch.width, 1))


class VisionTransformer(nn.Module):
    """Stem, blocks and head of an image ViT. Run it through `janus_vit.model.stage`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        arch = self.architecture = architecture
        self.stem = conv_stem(arch) if arch.stem == "conv" else patch_stem(arch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, arch.width)) if arch.pooling == "class" else None
        self.reg_token = nn.Parameter(torch.zeros(1, arch.registers, arch.width)) if arch.registers else None
        patches = arch.tokens - arch.protected
        has_class = arch.pooling == "class"
        self.pos_embed = nn.Parameter(torch.randn(1, patches + has_class, arch.width) * 0.02)
        self.blocks = nn.ModuleList(Block(arch) for _ in range(arch.depth))
        self.norm = nn.LayerNorm(arch.width, eps=arch.norm_eps)
        self.head = nn.Linear(arch.width, arch.classes)

    def embed(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, H, W] to tokens [B, T, C]: class token, registers, patches row by row."""
        x: Tensor = self.stem(pixels).flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = x + self.pos_embed  # registers have no position
        if self.reg_token is not None:
            registers = self.reg_token.expand(x.shape[0], -1, -1)
            at = 1 if self.cls_token is not None else 0
            x = torch.cat([x[:, :at], registers, x[:, at:]], dim=1)
        return x

    def head_logits(self, tokens: Tensor, sizes: Tensor) -> Tensor:
        """Tokens [B, T, C] and sizes [B, T] to logits [B, classes]."""
        x: Tensor = self.norm(tokens)
        if self.architecture.pooling == "class":
            pooled = x[:, 0]
        else:
            patches = x[:, self.architecture.protected :]
            weights = sizes[:, self.architecture.protected :].to(x.dtype)
            pooled = (patches * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        logits: Tensor = self.head(pooled)
        return logits
