"""Layers of a Vision Transformer: attention that also returns its keys, MLPs, blocks that merge, attention pooling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.model.merging import Matching, match_tokens, merge_tokens
from janus_vit.model.rotary import split_heads

QUICK = 1.702  # CLIP's quick GELU
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(QUICK * x),
}
GATED = "swiglu"
# Activations that engines can apply to the output of a linear layer, by name.
AFTER_LINEAR: dict[str | None, Callable[[Tensor], Tensor]] = {
    None: lambda x: x,
    "gelu": F.gelu,
    "gelu_tanh": ACTIVATIONS["gelu_tanh"],
    "silu": F.silu,
}


class _Initialised:
    """Skip the initialisation of modules on torch's meta device, where it would import 75 MB of code in 1.5 s."""

    weight: Tensor

    def reset_parameters(self) -> None:
        """Initialise the weights, unless they are on the meta device."""
        if not self.weight.is_meta:
            super().reset_parameters()  # type: ignore[misc]


class Linear(_Initialised, nn.Linear):
    """The layer of torch, which is not initialised on the meta device."""


class Conv2d(_Initialised, nn.Conv2d):
    """The layer of torch, which is not initialised on the meta device."""


class Conv3d(_Initialised, nn.Conv3d):
    """The layer of torch, which is not initialised on the meta device."""


def learned_parameter(*shape: int) -> nn.Parameter:
    """Make a parameter of small random values; without values on the meta device."""
    values = torch.zeros(shape)
    return nn.Parameter(values if values.is_meta else values.normal_(std=0.02))


class Attention(nn.Module):
    """Multi-head self-attention with fused qkv. It also returns its keys, which match tokens for merging.

    With `norm_eps`, a norm comes before the last layer (sub-LN of EVA-02).
    """

    def __init__(self, width: int, heads: int, norm_eps: float | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.norm = inner_norm(width, norm_eps)
        self.proj = Linear(width, width)

    def forward(
        self, x: Tensor, sizes: Tensor | None, queries: int | None = None, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend over all tokens.

        Args:
            x: tokens [B, T, C].
            sizes: [B, T] patches of each token; log(size) is added to the scores. None if all are 1.
            queries: number of leading tokens that attend; all if None.
            rotation: of each token, as `rotary.rotate` takes it; None without rotary positions.

        Returns:
            Output [B, queries, C], and the keys of all tokens [B, heads, T, head_width].
        """
        batch, count, width = x.shape
        parts = split_heads(self.qkv(x).view(batch, count, 3, self.heads, width // self.heads), rotation)
        query, key, value = (part.transpose(1, 2) for part in parts)  # each [B, heads, T, head_width]
        query = query[:, :, :queries]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=size_bias(sizes, x.dtype, query.shape[2]))
        return self.proj(self.norm(out.transpose(1, 2).flatten(2))), key


NORMS = ("layer", "rms")


def make_norm(width: int, eps: float, kind: str = "layer") -> nn.Module:
    """Make a norm of one of the kinds in `NORMS`; "rms" neither subtracts the mean nor adds a bias."""
    return nn.LayerNorm(width, eps=eps) if kind == "layer" else nn.RMSNorm(width, eps=eps)


def inner_norm(width: int, eps: float | None) -> nn.Module:
    """Make a norm within a branch, or none if there is no epsilon."""
    return nn.Identity() if eps is None else nn.LayerNorm(width, eps=eps)


def size_bias(sizes: Tensor | None, dtype: torch.dtype, queries: int) -> Tensor | None:
    """Return the bias of proportional attention: log(size) of each key [B, T] for all queries, [B, 1, queries, T]."""
    return None if sizes is None else sizes.log().to(dtype)[:, None, None, :].expand(-1, -1, queries, -1)


def attend_once(query: Tensor, key_value: Tensor, sizes: Tensor, heads: int) -> Tensor:
    """Attend with one query.

    Args:
        query: [1, 1, C].
        key_value: keys and values of all tokens, [B, T, 2 C].
        sizes: [B, T] patches of each token.
        heads: number of attention heads.

    Returns:
        [B, C].
    """
    batch, count, width = len(key_value), key_value.shape[1], query.shape[2]
    one = query.expand(batch, -1, -1).view(batch, 1, heads, width // heads).transpose(1, 2)
    key, value = key_value.view(batch, count, 2, heads, width // heads).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(one, key, value, attn_mask=size_bias(sizes, query.dtype, 1))
    return out.transpose(1, 2).reshape(batch, width)


class Mlp(nn.Module):
    """Two linear layers with an activation between them, and with `norm_eps` a norm after it."""

    def __init__(self, width: int, hidden: int, activation: str, norm_eps: float | None = None) -> None:
        super().__init__()
        self.name = activation
        self.activation = ACTIVATIONS[activation]
        self.fc1 = Linear(width, hidden)
        self.norm = inner_norm(hidden, norm_eps)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        out: Tensor = self.fc2(self.norm(self.activation(self.fc1(x))))
        return out


class GatedMlp(nn.Module):
    """SwiGLU (Shazeer, 2020) with gate and value in one layer, as in DINOv2-giant; with `norm_eps` a norm follows."""

    def __init__(self, width: int, hidden: int, norm_eps: float | None = None) -> None:
        super().__init__()
        self.fc1 = Linear(width, 2 * hidden)
        self.norm = inner_norm(hidden, norm_eps)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        gate, value = self.fc1(x).chunk(2, dim=-1)
        out: Tensor = self.fc2(self.norm(F.silu(gate) * value))
        return out


class LayerScale(nn.Module):
    """A learned scale for each channel (CaiT)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        return x * self.gamma


class Block(nn.Module):
    """A pre-norm transformer block that can merge tokens between attention and MLP."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        activation: str = "gelu",
        scaled: bool = False,
        eps: float = 1e-6,
        attn_norm: bool = False,
        mlp_norm: bool = False,
        norm: str = "layer",
    ) -> None:
        super().__init__()
        mlp_eps = eps if mlp_norm else None
        self.norm1 = make_norm(width, eps, norm)
        self.attn = Attention(width, heads, eps if attn_norm else None)
        self.ls1 = LayerScale(width) if scaled else nn.Identity()
        self.norm2 = make_norm(width, eps, norm)
        self.mlp = GatedMlp(width, hidden, mlp_eps) if activation == GATED else Mlp(width, hidden, activation, mlp_eps)
        self.ls2 = LayerScale(width) if scaled else nn.Identity()

    def forward(
        self,
        x: Tensor,
        sizes: Tensor,
        bias_sizes: Tensor | None,
        merges: int,
        protected: int,
        head_tokens: int | None = None,
        rotation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Matching | None]:
        """Run the block and merge tokens between attention and MLP.

        Args:
            x: tokens [B, T, C].
            sizes: [B, T] patches of each token.
            bias_sizes: the sizes that attention uses; None if all are 1.
            merges: number of tokens to remove.
            protected: number of leading tokens that never merge.
            head_tokens: number of leading tokens to compute and return; they attend to all tokens, and `merges` must
                be 0. None for all.
            rotation: of each token, as `rotary.rotate` takes it; None without rotary positions.

        Returns:
            Tokens [B, T - merges, C], their sizes [B, T - merges], and the pairs that merged; None if none did.
        """
        attended, keys = self.attn(self.norm1(x), bias_sizes, head_tokens, rotation)
        x, sizes = x[:, :head_tokens] + self.ls1(attended), sizes[:, :head_tokens]
        matching = match_tokens(keys, merges, protected) if merges else None
        if matching is not None:
            x, sizes = merge_tokens(x, sizes, matching)
        return x + self.ls2(self.mlp(self.norm2(x))), sizes, matching


class AttentivePool(nn.Module):
    """Blocks over all tokens, then attention of one learned query, then an MLP (V-JEPA 2's classifier)."""

    def __init__(self, width: int, heads: int, hidden: int, activation: str, eps: float, depth: int) -> None:
        super().__init__()
        self.heads = heads
        self.blocks = nn.ModuleList(Block(width, heads, hidden, activation, eps=eps) for _ in range(depth))
        self.latent = learned_parameter(1, 1, width)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.q = Linear(width, width)
        self.kv = Linear(width, 2 * width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, hidden, activation)

    def forward(self, x: Tensor, sizes: Tensor) -> Tensor:
        """Pool tokens [B, T, C] with sizes [B, T] into [B, C]. A token counts as many times as it has patches."""
        for block in self.blocks:
            x, sizes, _ = block(x, sizes, sizes, 0, 0)
        attended = attend_once(self.q(self.latent), self.kv(self.norm1(x)), sizes, self.heads)
        pooled: Tensor = self.latent[:, 0] + attended
        refined: Tensor = self.mlp(self.norm2(pooled))
        return pooled + refined


class AttentionPool(nn.Module):
    """Attention of one learned query over all tokens, then an MLP (Zhai et al., CVPR 2022; SigLIP's head).

    Without hidden values there is no MLP (AIMv2's head).
    """

    def __init__(self, width: int, heads: int, hidden: int, activation: str, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.latent = learned_parameter(1, 1, width)
        self.q = Linear(width, width) if hidden else nn.Identity()
        self.kv = Linear(width, 2 * width)
        self.proj = Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps) if hidden else nn.Identity()
        self.mlp = Mlp(width, hidden, activation) if hidden else None

    def forward(self, x: Tensor, sizes: Tensor) -> Tensor:
        """Pool tokens [B, T, C] with sizes [B, T] into [B, C]. A token counts as many times as it has patches."""
        pooled: Tensor = self.proj(attend_once(self.q(self.latent), self.kv(x), sizes, self.heads))
        if self.mlp is None:
            return pooled
        refined: Tensor = self.mlp(self.norm(pooled))
        return pooled + refined
