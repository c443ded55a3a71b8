"""Join the tensors of a checkpoint that our network holds as one. Knows no file."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from janus_vit.model.memory import release_pages
from janus_vit.model.vit import Architecture


def fuse(parts: dict[str, Tensor], arch: Architecture) -> dict[str, Tensor]:
    """Join the tensors that our network holds as one, and add zero biases where a family has none."""
    tensors = dict(parts)
    for block in range(arch.pool_depth):
        _join(tensors, f"pool.blocks.{block}.attn.qkv", [f"pool.blocks.{block}.{part}" for part in "qkv"])
    _join(tensors, "pool.kv", ["pool.k", "pool.v"])
    for block in range(arch.depth):
        name = f"blocks.{block}"
        _join(tensors, f"{name}.attn.qkv", [f"{name}.{part}" for part in "qkv"])
        _join_biases(tensors, name, arch.width)
        if f"{name}.mlp.gate.weight" not in tensors:  # DINOv3 calls the first layer of a plain MLP so
            tensors |= {
                f"{name}.mlp.fc1.{kind}": tensors.pop(f"{name}.mlp.up.{kind}")
                for kind in ("weight", "bias")
                if f"{name}.mlp.up.{kind}" in tensors
            }
        _join(tensors, f"{name}.mlp.fc1", [f"{name}.mlp.{part}" for part in ("gate", "up")])
    if "pool.in.weight" in tensors:
        for kind in ("weight", "bias"):
            whole = tensors.pop(f"pool.in.{kind}")
            tensors[f"pool.q.{kind}"], tensors[f"pool.kv.{kind}"] = whole[: arch.width], whole[arch.width :]
    if "fc_norm.weight" in tensors:
        tensors |= {f"norm.{kind}": tensors.pop(f"fc_norm.{kind}") for kind in ("weight", "bias")}
    # CLIP's patch embedding and projection, and qkv of some timm models, have no bias.
    if arch.stem_norm:
        tensors.setdefault("stem.bias", torch.zeros(arch.width))
    if arch.classes and "stem_norm.weight" in tensors:
        tensors.setdefault("head.bias", torch.zeros(arch.classes))
    if not any(re.match(r"blocks\.\d+\.attn\.qkv\.bias$", name) for name in tensors):
        tensors |= {f"blocks.{block}.attn.qkv.bias": torch.zeros(3 * arch.width) for block in range(arch.depth)}
    if arch.norm == "rms":
        _add_biases(tensors, arch)
    return tensors


def _add_biases(tensors: dict[str, Tensor], arch: Architecture) -> None:
    """Add zero biases to the linear layers of AIMv2, most of which have none."""
    for block in range(arch.depth):
        name = f"blocks.{block}"
        tensors.setdefault(f"{name}.attn.proj.bias", torch.zeros(arch.width))
        tensors.setdefault(f"{name}.mlp.fc1.bias", torch.zeros(2 * arch.mlp_width))
        tensors.setdefault(f"{name}.mlp.fc2.bias", torch.zeros(arch.width))
    if "pool.kv.weight" in tensors:
        tensors.setdefault("pool.kv.bias", torch.zeros(2 * arch.width))
    if arch.classes:
        tensors.setdefault("head.bias", torch.zeros(arch.classes))


def _join_biases(tensors: dict[str, Tensor], block: str, width: int) -> None:
    """Join biases of queries and values beside a fused weight, as in EVA; keys have none."""
    biases = [tensors.get(f"{block}.{part}.bias") for part in "qv"]
    if f"{block}.attn.qkv.weight" in tensors and all(bias is not None and bias.shape == (width,) for bias in biases):
        query, value = (tensors.pop(f"{block}.{part}.bias") for part in "qv")
        tensors[f"{block}.attn.qkv.bias"] = torch.cat([query, torch.zeros(width), value])


def _join(tensors: dict[str, Tensor], whole: str, parts: list[str]) -> None:
    """Concatenate weights, and biases if at least one part has a bias (VideoMAE's keys have none)."""
    if not all(f"{part}.weight" in tensors for part in parts):
        return
    rows = {tensors[f"{part}.weight"].shape[1:] for part in parts}
    dimensions = {tensors[name].dim() for part in parts if (name := f"{part}.bias") in tensors}
    if len(rows) > 1 or dimensions - {1}:
        return  # they do not fit together, and will be listed as surplus
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
