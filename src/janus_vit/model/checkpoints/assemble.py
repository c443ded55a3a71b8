"""From the tensors of a foreign checkpoint to our network. The shapes say what the architecture is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.names import common_names
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.memory import release_pages
from janus_vit.model.vit import Architecture, VisionTransformer


@dataclass(frozen=True, slots=True)
class Facts:
    """What no tensor shows and a config tells.

    Attributes:
        heads, norm_eps, last_norm_eps, activation, pooling, frames: as in `Architecture`.
        image_size: at which the model was trained, None if nobody says.
        antialias: how the family's own code interpolates positions to a lower resolution.
        with_head: False leaves out the last layer, so that the model embeds.
    """

    heads: int
    norm_eps: float = 1e-6
    last_norm_eps: float | None = None
    activation: str = "gelu"
    pooling: str = "class"
    frames: int = 1
    image_size: int | None = None
    antialias: bool = False
    with_head: bool = True


def assemble(weights: Weights, facts: Facts, image_size: int | None = None) -> VisionTransformer:
    """Build the network in evaluation mode.

    Args:
        image_size: at which it will run; position embeddings are interpolated if they are for another one.

    Raises:
        InputError: tensors that are missing, surplus or of another shape; all are listed.
    """
    origin = common_names(weights.tensors)
    parts = {name: in_float32(weights.tensors[source]) for name, source in origin.items()}
    trained = _architecture(parts, facts, weights)
    if trained.pooling != "attention":
        parts = {name: part for name, part in parts.items() if not name.startswith("pool.")}
    if not facts.with_head:
        parts = {name: part for name, part in parts.items() if not name.startswith(("head.", "head_dist."))}
    tensors = _fuse(parts, trained)
    tensors |= _positions(tensors, trained)
    architecture = replace(trained, image_size=image_size or trained.image_size)
    check_size(weights.path, architecture)
    if "pos_embed" in tensors:
        tensors["pos_embed"] = interpolate_positions(tensors["pos_embed"], trained, architecture, facts.antialias)
    return fill(architecture, tensors, weights, origin)


def check_size(path: Path, arch: Architecture) -> None:
    """Require an image of whole patches.

    Raises:
        InputError: it is not; `path` names the checkpoint.
    """
    if arch.image_size < arch.patch_size or arch.image_size % arch.patch_size:
        raise InputError(
            f"{path}: an image size of {arch.image_size} is no multiple of the patches' {arch.patch_size}: use another"
        )


def fill(
    architecture: Architecture, tensors: dict[str, Tensor], weights: Weights, origin: dict[str, str]
) -> VisionTransformer:
    """A network that holds exactly these tensors, without copying them.

    Raises:
        InputError: they are not exactly those of the architecture; all differences are listed.
    """
    with torch.device("meta"):
        network = VisionTransformer(architecture)
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    differences = {
        "missing": sorted(wanted.keys() - found.keys()),
        "surplus": sorted(origin.get(name, name) for name in found.keys() - wanted.keys()),
        "mis-shaped": [
            f"{origin.get(name, name)} {list(found[name])} instead of {list(wanted[name])}"
            for name in sorted(wanted.keys() & found.keys())
            if wanted[name] != found[name]
        ],
    }
    problems = [f"{what}: {', '.join(names)}" for what, names in differences.items() if names]
    if problems:
        raise InputError(f"{weights.path}: tensors do not fit the architecture: {'; '.join(problems)}")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def interpolate_positions(
    positions: Tensor, trained: Architecture, wanted: Architecture, antialias: bool = False
) -> Tensor:
    """Positions [1, patches, C] of one resolution to another, bicubic as in transformers; time steps stay apart."""
    if trained.image_size == wanted.image_size:
        return positions
    side, new_side = (arch.image_size // arch.patch_size for arch in (trained, wanted))
    grids = positions.reshape(-1, side, side, trained.width).permute(0, 3, 1, 2)
    resized = F.interpolate(grids, size=(new_side, new_side), mode="bicubic", align_corners=False, antialias=antialias)
    return resized.permute(0, 2, 3, 1).reshape(1, -1, trained.width)


def in_float32(tensor: Tensor) -> Tensor:
    """The tensor itself if it is, else a copy, and the pages of the original's file are let go."""
    plain = tensor.float()
    if plain is not tensor:
        release_pages(tensor)
    return plain


def sinusoids(positions: int, width: int) -> Tensor:
    """The fixed position embeddings of VideoMAE (Vaswani et al., 2017), [1, positions, width]."""
    angles = torch.arange(positions, dtype=torch.float64)[:, None] / 10000 ** (
        2 * torch.div(torch.arange(width), 2, rounding_mode="floor").double() / width
    )
    angles[:, 0::2], angles[:, 1::2] = angles[:, 0::2].sin(), angles[:, 1::2].cos()
    return angles.float()[None]


def _architecture(parts: dict[str, Tensor], facts: Facts, weights: Weights) -> Architecture:
    stem, fc1, fc2 = (parts.get(name) for name in ("stem.weight", "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"))
    if stem is None or fc2 is None or stem.dim() not in (4, 5) or fc2.dim() != 2:
        raise InputError(f"{weights.path}: has no patch embedding or no MLP in its first block: it is no ViT")
    width, patch_size = stem.shape[0], stem.shape[-1]
    head = parts.get("head.weight")
    rows = [parts[name] for name in ("cls", "dist", "reg", "pos") if name in parts]
    tubelet = stem.shape[2] if stem.dim() == 5 else 1
    if 0 in stem.shape or (head is not None and head.dim() != 2) or any(row.numel() % width for row in rows):
        raise InputError(f"{weights.path}: its patch embedding, tokens, positions or head have no usable shape")
    if facts.frames < tubelet or facts.frames % tubelet:
        raise InputError(f"{weights.path}: clips of {facts.frames} frames are not whole tubelets of {tubelet} frames")
    gated = "blocks.0.mlp.gate.weight" in parts or (fc1 is not None and fc1.shape[0] == 2 * fc2.shape[1])
    arch = Architecture(
        image_size=facts.image_size or 0,
        patch_size=patch_size,
        width=width,
        depth=len({name.split(".")[1] for name in parts if name.startswith("blocks.")}),
        heads=facts.heads,
        mlp_width=fc2.shape[1],
        classes=head.shape[0] if head is not None and facts.with_head else 0,
        pooling=facts.pooling,
        prefix=sum(parts[name].reshape(-1, width).shape[0] for name in ("cls", "dist", "reg") if name in parts),
        distilled="dist" in parts and ("head_dist.weight" in parts or head is None),
        frames=facts.frames,
        tubelet=tubelet,
        activation="swiglu" if gated else facts.activation,
        layer_scale="blocks.0.ls1.gamma" in parts,
        stem_norm="stem_norm.weight" in parts,
        pooled_norm="fc_norm.weight" in parts,
        norm_eps=facts.norm_eps,
        last_norm_eps=facts.last_norm_eps,
    )
    if width % arch.heads:
        raise InputError(
            f"{weights.path}: {arch.heads} heads do not divide the width of {width}: check its config.json"
        )
    return replace(arch, image_size=_trained_size(parts, arch, weights))


def _trained_size(parts: dict[str, Tensor], arch: Architecture, weights: Weights) -> int:
    """The image size for which there is a position a patch; prefix tokens may have positions or not."""
    if "pos" not in parts:
        if arch.image_size:
            return arch.image_size
        raise InputError(f"{weights.path}: neither positions nor config.json tell the image size: add its config.json")
    positions = parts["pos"].reshape(-1, arch.width).shape[0]
    times = arch.frames // arch.tubelet
    sides = [
        math.isqrt(left // times)
        for left in sorted({positions - skip for skip in _skips(parts, arch)}, reverse=True)
        if left > 0 and math.isqrt(left // times) ** 2 * times == left
    ]
    stated = arch.image_size // arch.patch_size
    if not sides:
        raise InputError(f"{weights.path}: {positions} positions are no square grid of patches: not supported")
    return (stated if stated in sides else sides[0]) * arch.patch_size


def _skips(parts: dict[str, Tensor], arch: Architecture) -> set[int]:
    """How many positions may belong to prefix tokens: none, class (and distillation), or all."""
    return {0, sum(name in parts for name in ("cls", "dist")), arch.prefix}


def _positions(tensors: dict[str, Tensor], arch: Architecture) -> dict[str, Tensor]:
    """Positions of the patches, and prefix tokens with their own positions added."""
    width = arch.width
    prefix = [tensors.pop(name).reshape(-1, width) for name in ("cls", "dist", "reg") if name in tensors]
    positions = tensors.pop("pos").reshape(-1, width) if "pos" in tensors else sinusoids(arch.patches, width)[0]
    spare = len(positions) - arch.patches
    placed = {"pos_embed": positions[spare:][None]}
    if prefix:
        rows = torch.cat(prefix)
        placed["prefix_tokens"] = torch.cat([rows[:spare] + positions[:spare], rows[spare:]])[None]
    return placed


def _fuse(parts: dict[str, Tensor], arch: Architecture) -> dict[str, Tensor]:
    """Join what our network holds in one tensor, and add biases that a whole family does without."""
    tensors = dict(parts)
    for block in range(arch.depth):
        name = f"blocks.{block}"
        _join(tensors, f"{name}.attn.qkv", [f"{name}.{part}" for part in "qkv"])
        _join(tensors, f"{name}.mlp.fc1", [f"{name}.mlp.{part}" for part in ("gate", "up")])
    if "pool.in.weight" in tensors:
        for kind in ("weight", "bias"):
            whole = tensors.pop(f"pool.in.{kind}")
            tensors[f"pool.q.{kind}"], tensors[f"pool.kv.{kind}"] = whole[: arch.width], whole[arch.width :]
    if "fc_norm.weight" in tensors:
        tensors |= {f"norm.{kind}": tensors.pop(f"fc_norm.{kind}") for kind in ("weight", "bias")}
    # CLIP's patches and projection, and some timm models' qkv, have no bias at all.
    if arch.stem_norm:
        tensors.setdefault("stem.bias", torch.zeros(arch.width))
    if arch.classes and "stem_norm.weight" in tensors:
        tensors.setdefault("head.bias", torch.zeros(arch.classes))
    if not any(name.endswith("attn.qkv.bias") for name in tensors):
        tensors |= {f"blocks.{block}.attn.qkv.bias": torch.zeros(3 * arch.width) for block in range(arch.depth)}
    return tensors


def _join(tensors: dict[str, Tensor], whole: str, parts: list[str]) -> None:
    """Concatenate weights, and biases if there is any (VideoMAE's keys have none)."""
    if not all(f"{part}.weight" in tensors for part in parts):
        return
    weights = [tensors.pop(f"{part}.weight") for part in parts]
    biases = [tensors.pop(f"{part}.bias", None) for part in parts]
    tensors[f"{whole}.weight"] = torch.cat(weights)
    for weight in weights:
        release_pages(weight)
    if any(bias is not None for bias in biases):
        tensors[f"{whole}.bias"] = torch.cat(
            [
                weight.new_zeros(len(weight)) if bias is None else bias
                for weight, bias in zip(weights, biases, strict=True)
            ]
        )
