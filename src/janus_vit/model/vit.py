"""The Vision Transformer: stem, blocks that can merge tokens, head. Knows no split, link or policy.

The layout is that of the published ViT (Dosovitskiy et al., ICLR 2021) with fused qkv, plus the variations of later
models: DeiT's distillation token, DINOv2's registers, layer scale and SwiGLU, CLIP's norm before the blocks, SigLIP's
attention pooling, VideoMAE's tubelets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.model.heads.base import DenseHead, Features, unmerge
from janus_vit.model.layers import GATED, AttentionPool, AttentivePool, Block, Linear, learned_parameter, make_norm
from janus_vit.model.rotary import Rotary
from janus_vit.model.stems import conv_stem, patch_stem

GRID, PREFIX = "grid", "prefix"  # poolings of dense heads
ATTENTION, ATTENTIVE = "attention", "attentive"
POOLINGS = ("class", "mean", "class+mean", ATTENTION, ATTENTIVE, GRID, PREFIX)
STEMS = ("patch", "conv")


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a Vision Transformer.

    Attributes:
        image_size: height of the input in pixels; also its width, unless `image_width` is set. Pixels at the right and
            at the bottom that do not fill a patch are left out.
        patch_size: height and width of a patch; a convolutional stem needs a power of two.
        width: number of values in one token.
        depth: number of blocks.
        heads: number of attention heads.
        mlp_width: number of hidden values in the MLP.
        classes: number of outputs of the last layer: labels, or values of an embedding; 0 if there is no last layer.
        pooling: what the head reads: the "class" token, the "mean" of the patches weighted by size, "class+mean"
            (both, concatenated), "attention" over all tokens, or that after some more blocks ("attentive"). A dense
            head reads the whole "grid", or the "prefix" tokens.
        prefix: number of tokens before the patches, which never merge: class, distillation and register tokens.
        distilled: whether the second token is DeiT's distillation token; then the logits of both heads are averaged.
        stem: "patch" for one strided convolution, "conv" for a stack of small ones.
        frames: number of frames in a clip; 1 for images.
        tubelet: number of frames that one token spans; 1 for images.
        activation: activation of the MLPs: "gelu", "gelu_tanh", "quick_gelu" or "swiglu".
        layer_scale: whether each residual branch has a learned scale.
        stem_norm: whether tokens are normalised before the first block.
        pooled_norm: whether the last norm comes after pooling instead of before.
        norm_eps: epsilon of the layer norms.
        last_norm_eps: epsilon of the last norm; None if it is `norm_eps`.
        last_norm: whether there is a last norm.
        image_width: width of the input in pixels; None if it is `image_size`.
        channels: number of channels of the input: 3 for colour, 1 for grey.
        taps: after how many blocks a dense head also reads the tokens, ascending, fewer than `depth`.
        stem_padding: zeros on each side of the normalised input.
        rotary: how attention turns queries and keys by their tokens' positions, one of `rotary.ROTARIES`. None if it
            does not.
        attn_norm: whether there is a norm before the last layer of attention.
        mlp_norm: whether there is a norm before the last layer of the MLPs.
        pool_heads: number of heads of the attention pooling; None if it is `heads`.
        pool_mlp_width: hidden values in the MLP of the attention pooling; None if it is `mlp_width`, 0 if it has none.
        pool_depth: number of blocks before "attentive" pooling.
        norm: kind of all norms except that of the attention pooling: "layer" or "rms".
        patch_norm: whether patches are normalised before their positions are added.
        late_tokens: number of learned tokens that join after `late_block` blocks, before all others (EoMT's queries).
            They never merge.
        late_block: number of blocks that run before the late tokens join.
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    classes: int
    pooling: str = "class"
    prefix: int = 1
    distilled: bool = False
    stem: str = "patch"
    frames: int = 1
    tubelet: int = 1
    activation: str = "gelu"
    layer_scale: bool = False
    stem_norm: bool = False
    pooled_norm: bool = False
    norm_eps: float = 1e-6
    last_norm_eps: float | None = None
    last_norm: bool = True
    image_width: int | None = None
    channels: int = 3
    taps: tuple[int, ...] = ()
    stem_padding: int = 0
    rotary: str | None = None
    attn_norm: bool = False
    mlp_norm: bool = False
    pool_heads: int | None = None
    pool_mlp_width: int | None = None
    pool_depth: int = 0
    norm: str = "layer"
    patch_norm: bool = False
    late_tokens: int = 0
    late_block: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.image_size, self.image_width or self.image_size

    @property
    def grid(self) -> tuple[int, int]:
        """Number of rows and columns of patches."""
        height, width = self.size
        return height // self.patch_size, width // self.patch_size

    @property
    def patches(self) -> int:
        """Number of patch tokens."""
        rows, columns = self.grid
        return rows * columns * (self.frames // self.tubelet)

    @property
    def tokens(self) -> int:
        """Number of tokens that enter the first block."""
        return self.patches + self.prefix

    def protected(self, block: int) -> int:
        """Number of leading tokens of a block (from 0) that never merge; with the number of blocks, of the head."""
        return self.prefix + (self.late_tokens if block >= self.late_block else 0)

    @property
    def head_tokens(self) -> int | None:
        """Number of leading tokens that the head reads; the last block computes only these. None for all."""
        if self.pooling == PREFIX:
            return self.prefix
        return (2 if self.distilled else 1) if self.pooling == "class" else None

    @property
    def is_dense(self) -> bool:
        """Whether the model has a dense head."""
        return self.pooling in (GRID, PREFIX)

    @property
    def reads_grid(self) -> bool:
        """Whether the head reads one value for each patch, so that merged tokens are spread over their patches."""
        return self.pooling == GRID

    @property
    def tracks_patches(self) -> bool:
        """Whether a run must know in which token each patch is."""
        return self.reads_grid or self.rotary is not None

    @property
    def sides(self) -> tuple[int, ...]:
        """Number of patches along each axis in reading order: rows and columns, of clips first the time steps."""
        return self.grid if self.frames == 1 else (self.frames // self.tubelet, *self.grid)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (channels, height, width), or (channels, frames, height, width) for clips."""
        return (self.channels, *self.size) if self.frames == 1 else (self.channels, self.frames, *self.size)


def _rotary(arch: Architecture) -> Rotary | None:
    """Make the rotation of tokens, None without rotary positions."""
    if arch.rotary is None:
        return None
    return Rotary(arch.sides, arch.rotary, arch.depth, arch.heads, arch.width // arch.heads)


def _pool(arch: Architecture) -> AttentionPool | AttentivePool:
    heads = arch.pool_heads or arch.heads
    hidden = arch.mlp_width if arch.pool_mlp_width is None else arch.pool_mlp_width
    activation = "gelu" if arch.activation == GATED else arch.activation
    if arch.pooling == ATTENTIVE:
        return AttentivePool(arch.width, heads, hidden, activation, arch.norm_eps, arch.pool_depth)
    return AttentionPool(arch.width, heads, hidden, activation, arch.norm_eps)


class VisionTransformer(nn.Module):
    """Stem, blocks and head of an image or video ViT. Run it through `janus_vit.model.stage`.

    `pos_embed` holds the positions of the patches only. Those of the prefix tokens are already added to these tokens.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        arch = self.architecture = architecture
        self.stem = conv_stem(arch) if arch.stem == "conv" else patch_stem(arch)
        self.prefix_tokens = nn.Parameter(torch.zeros(1, arch.prefix, arch.width)) if arch.prefix else None
        self.late_tokens = learned_parameter(1, arch.late_tokens, arch.width) if arch.late_tokens else None
        self.pos_embed = learned_parameter(1, arch.patches, arch.width)
        self.patch_norm = make_norm(arch.width, arch.norm_eps, arch.norm) if arch.patch_norm else nn.Identity()
        self.stem_norm = nn.LayerNorm(arch.width, eps=arch.norm_eps) if arch.stem_norm else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(
                arch.width,
                arch.heads,
                arch.mlp_width,
                arch.activation,
                arch.layer_scale,
                arch.norm_eps,
                arch.attn_norm,
                arch.mlp_norm,
                arch.norm,
            )
            for _ in range(arch.depth)
        )
        self.rotary = _rotary(arch)
        eps = arch.last_norm_eps or arch.norm_eps
        self.norm = make_norm(arch.width, eps, arch.norm) if arch.last_norm else nn.Identity()
        pooled = 2 * arch.width if arch.pooling == "class+mean" else arch.width
        if arch.pooling in (ATTENTION, ATTENTIVE):
            self.pool = _pool(arch)
        self.head = Linear(pooled, arch.classes) if arch.classes else nn.Identity()
        self.head_dist = Linear(pooled, arch.classes) if arch.distilled and arch.classes else None
        self.dense_head: DenseHead | None = None

    @property
    def output_width(self) -> int:
        """Number of outputs of the head: classes, or values of the embedding."""
        arch = self.architecture
        return arch.classes or (2 if arch.pooling == "class+mean" else 1) * arch.width

    def first_blocks(self, depth: int) -> VisionTransformer:
        """Return a network of the first `depth` blocks, for timing. It shares the modules of this network.

        All its blocks return all tokens. Do not run its head.
        """
        with torch.device("meta"):
            arch = replace(self.architecture, depth=depth, pooling="mean", distilled=False, taps=(), late_tokens=0)
            short = VisionTransformer(arch)
        for name, parameter in self.named_parameters(recurse=False):
            setattr(short, name, parameter)
        for name, module in self.named_children():
            setattr(short, name, module)
        short.blocks = self.blocks[:depth]
        return short.eval()

    def patches(self, pixels: Tensor) -> Tensor:
        """Turn normalised pixels [B, *input_shape] into patch tokens in reading order, [B, patches, C]."""
        # Contiguous like a decoded payload, so that a split run rounds exactly like an unsplit one.
        tokens: Tensor = self.stem(pixels).flatten(2).transpose(1, 2).contiguous()
        return tokens

    def embed(self, pixels: Tensor, patches: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Turn normalised pixels into tokens [B, T, C]: prefix tokens, then patches in reading order.

        Args:
            pixels: [B, *input_shape].
            patches: replaces the method `patches`.
        """
        margin = self.architecture.stem_padding
        inputs = F.pad(pixels, (margin,) * 4) if margin else pixels
        x = self.patch_norm((patches or self.patches)(inputs)) + self.pos_embed
        if self.prefix_tokens is not None:
            x = torch.cat([self.prefix_tokens.expand(x.shape[0], -1, -1), x], dim=1)
        tokens: Tensor = self.stem_norm(x)
        return tokens

    def head_logits(self, tokens: Tensor, sizes: Tensor) -> Tensor:
        """Turn tokens [B, T, C] and sizes [B, T] into logits or embeddings [B, D]."""
        arch = self.architecture
        # "class" pooling only picks tokens, so normalising after it gives the same result for far fewer tokens.
        picks = arch.pooling == "class"
        x: Tensor = tokens if arch.pooled_norm or picks else self.norm(tokens)
        if arch.distilled:
            first: Tensor = self.norm(x[:, 0])
            second: Tensor = self.norm(x[:, 1])
            if self.head_dist is not None:
                first, second = self.head(first), self.head_dist(second)
            return (first + second) / 2
        pooled = self._pool(x, sizes)
        output: Tensor = self.head(self.norm(pooled) if arch.pooled_norm or picks else pooled)
        return output

    def features(self, tokens: Tensor, token_of_patch: Tensor | None, blocks: int) -> Features:
        """Normalise the tokens [B, T, C] after some blocks and spread them over the patches [B, P], unless None."""
        x: Tensor = self.norm(tokens)
        grid = None if token_of_patch is None else unmerge(x, token_of_patch, self.architecture.sides)
        return Features(x[:, : self.architecture.protected(blocks)], grid)

    def _pool(self, x: Tensor, sizes: Tensor) -> Tensor:
        arch = self.architecture
        if arch.pooling == "class":
            return x[:, 0]
        if arch.pooling in (ATTENTION, ATTENTIVE):
            pooled: Tensor = self.pool(x, sizes)
            return pooled
        weights = sizes[:, arch.prefix :].to(x.dtype)
        mean = (x[:, arch.prefix :] * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        return mean if arch.pooling == "mean" else torch.cat([x[:, 0], mean], dim=1)
