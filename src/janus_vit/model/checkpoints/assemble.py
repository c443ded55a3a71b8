"""Build our network from the tensors of another library. The shapes of the tensors give the architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.fuse import fuse
from janus_vit.model.checkpoints.names import common_names
from janus_vit.model.checkpoints.positions.learned import (
    grid_sinusoids,
    interpolate_positions,
    place_positions,
    trained_size,
    with_size,
)
from janus_vit.model.checkpoints.positions.rotary import RotaryFacts, place_rotary
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.memory import release_pages
from janus_vit.model.tensor_check import check_finite, check_float, check_parts
from janus_vit.model.vit import ATTENTION, ATTENTIVE, Architecture, VisionTransformer
from janus_vit.planning.jsonfile import shown
from janus_vit.planning.plan import MOST_TOKENS

_COUNTER, _VARIANCE = "num_batches_tracked", "running_var"  # of batch norms


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """The part of an architecture that only the config shows, not the tensors.

    Attributes:
        heads: as in `Architecture`.
        norm_eps: as in `Architecture`.
        last_norm_eps: as in `Architecture`.
        activation: as in `Architecture`.
        pooling: as in `Architecture`.
        frames: as in `Architecture`.
        image_size: height and width of the training images in pixels, None if unknown.
        size_is_exact: whether the positions must be those of `image_size`.
        last_norm: False if there is no last norm, or if the head does not read it.
        antialias: whether the family's own code antialiases positions when it interpolates them.
        with_head: False removes the last layer, so that the model embeds.
        rotary: how queries and keys are turned, None if they are not.
        pool_heads: as in `Architecture`.
        norm: as in `Architecture`.
        flat_patch_size: patch size of a patch embedding that is stored as a linear layer; None for a convolution.
        has_sinusoids: whether positions are the sinusoids of the grid, which no tensor holds.
        resize_mode: how positions are interpolated, as torch calls it.
    """

    heads: int
    norm_eps: float = 1e-6
    last_norm_eps: float | None = None
    activation: str = "gelu"
    pooling: str = "class"
    frames: int = 1
    image_size: tuple[int, int] | None = None
    size_is_exact: bool = False
    last_norm: bool = True
    antialias: bool = False
    with_head: bool = True
    rotary: RotaryFacts | None = None
    pool_heads: int | None = None
    norm: str = "layer"
    flat_patch_size: int | None = None
    has_sinusoids: bool = False
    resize_mode: str = "bicubic"


def assemble(weights: Weights, facts: ConfigFacts, size: tuple[int, int] | None = None) -> VisionTransformer:
    """Build the network in evaluation mode.

    Args:
        weights: the tensors of the checkpoint.
        facts: facts from its config.
        size: height and width to run at; position embeddings of another size are interpolated. None keeps the size.

    Raises:
        InputError: tensors are missing, surplus or of another shape; the message lists them all.
    """
    origin = common_names(weights.tensors)
    for source in origin.values():
        check_float(weights.path, source, weights.tensors[source])
    parts = {name: to_float32(weights.tensors[source]) for name, source in origin.items()}
    check_parts(weights.path, parts, origin)
    if facts.flat_patch_size is not None:
        unflatten_stem(parts, facts.flat_patch_size)
    if facts.has_sinusoids:
        facts = add_sinusoids(parts, facts, size)
    trained = _architecture(parts, facts, weights)
    _check_patches(weights.path, trained)
    if trained.pooling not in (ATTENTION, ATTENTIVE):
        parts = {name: part for name, part in parts.items() if not name.startswith("pool.")}
    if not facts.with_head:
        parts = {name: part for name, part in parts.items() if not name.startswith(("head.", "head_dist."))}
    if not facts.last_norm:
        parts = {name: part for name, part in parts.items() if not name.startswith("norm.")}
    tensors = fuse(parts, trained)
    tensors |= place_positions(tensors, trained)
    architecture = trained if size is None else with_size(trained, size)
    _check_patches(weights.path, architecture)
    if facts.rotary is not None:
        place_rotary(tensors, facts.rotary, architecture)
    if "pos_embed" in tensors:
        tensors["pos_embed"] = interpolate_positions(
            tensors["pos_embed"], trained, architecture, facts.antialias, facts.resize_mode
        )
    return build_network(architecture, tensors, weights, origin)


def check_image_size(path: Path, arch: Architecture) -> None:
    """Check that the image is a whole number of patches wide and high.

    Raises:
        InputError: it is not; the message names the checkpoint at `path`.
    """
    for side in arch.size:
        if side < arch.patch_size or side % arch.patch_size:
            raise InputError(
                f"{path}: an image size of {side} is not a multiple of the patch size {arch.patch_size}: "
                "choose a multiple"
            )


def _check_patches(path: Path, arch: Architecture) -> None:
    if 0 in arch.grid:
        check_image_size(path, arch)
    if arch.tokens > MOST_TOKENS:
        raise InputError(
            f"{path}: images of {arch.size[0]} x {arch.size[1]} pixels in {arch.frames} frames give {arch.tokens} "
            f"tokens, and a model has at most {MOST_TOKENS}: correct the sizes in its config"
        )


def build_network(
    architecture: Architecture, tensors: dict[str, Tensor], weights: Weights, origin: dict[str, str]
) -> VisionTransformer:
    """Build a network that holds these tensors without copying them.

    Args:
        architecture: architecture of the network.
        tensors: tensors by their names in the network.
        weights: the checkpoint, for error messages.
        origin: name in the network -> name in the checkpoint, for error messages.

    Raises:
        InputError: the tensors do not fit the architecture; the message lists all differences.
    """
    with torch.device("meta"):
        network = VisionTransformer(architecture)
    load_tensors(network, tensors, weights, origin)
    return network.eval().requires_grad_(False)


def load_tensors(module: nn.Module, tensors: dict[str, Tensor], weights: Weights, origin: dict[str, str]) -> None:
    """Give a module on the meta device its tensors, without copying them; see `build_network`.

    Raises:
        InputError: the tensors do not fit the module; the message lists all differences.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
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
    for name, tensor in tensors.items():
        if not name.endswith(_COUNTER):
            check_float(weights.path, origin.get(name, name), tensor)
        check_finite(weights.path, origin.get(name, name), tensor)
        if name.endswith(_VARIANCE) and tensor.amin() < 0:
            raise InputError(
                f"{weights.path}: tensor {shown(origin.get(name, name))} holds a variance below zero: copy it again"
            )
    module.load_state_dict(tensors, assign=True)


def to_float32(tensor: Tensor) -> Tensor:
    """Convert to float32. If that makes a copy, drop the original's file pages from memory."""
    converted = tensor.float()
    if converted is not tensor:
        release_pages(tensor)
    return converted


def _architecture(parts: dict[str, Tensor], facts: ConfigFacts, weights: Weights) -> Architecture:
    stem, fc1, fc2 = (parts.get(name) for name in ("stem.weight", "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"))
    if stem is None or fc2 is None or stem.dim() not in (4, 5) or fc2.dim() != 2:
        raise InputError(
            f"{weights.path}: has no patch embedding or no MLP in its first block, so it is not a ViT: use "
            "a checkpoint of a Vision Transformer"
        )
    width, patch_size = stem.shape[0], stem.shape[-1]
    head = parts.get("head.weight")
    rows = [parts[name] for name in ("cls", "dist", "reg", "pos") if name in parts]
    tubelet = stem.shape[2] if stem.dim() == 5 else 1
    if 0 in stem.shape or (head is not None and head.dim() != 2) or any(row.numel() % width for row in rows):
        raise InputError(
            f"{weights.path}: its patch embedding, tokens, positions or head have a wrong shape: copy the file again"
        )
    if facts.frames < tubelet or facts.frames % tubelet:
        raise InputError(
            f"{weights.path}: {facts.frames} frames are not a multiple of the tubelet size {tubelet}: correct "
            "num_frames in its config.json"
        )
    gated = "blocks.0.mlp.gate.weight" in parts or (fc1 is not None and fc1.shape[0] == 2 * fc2.shape[1])
    arch = Architecture(
        image_size=0,
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
        last_norm=facts.last_norm,
        channels=stem.shape[1],
        rotary=facts.rotary.kind if facts.rotary else None,
        attn_norm="blocks.0.attn.norm.weight" in parts,
        mlp_norm="blocks.0.mlp.norm.weight" in parts,
        pool_heads=facts.pool_heads,
        pool_mlp_width=_pool_mlp_width(parts, facts, fc2.shape[1]),
        norm=facts.norm,
        patch_norm="patch_norm.weight" in parts,
        pool_depth=len({name.split(".")[2] for name in parts if name.startswith("pool.blocks.")}),
    )
    if arch.channels not in (1, 3):
        raise InputError(
            f"{weights.path}: its patch embedding reads {arch.channels} channels: only colour (3) and grey (1) are "
            "supported"
        )
    step = 0 if facts.rotary is None else 2 if facts.rotary.of_clips else 4
    if step and (width // arch.heads) % step:
        raise InputError(
            f"{weights.path}: heads of {width // arch.heads} values have no rotary positions, which need a multiple "
            f"of {step}: check its config.json"
        )
    if width % arch.heads:
        raise InputError(
            f"{weights.path}: {arch.heads} heads do not divide the width of {width}: check its config.json"
        )
    return with_size(arch, trained_size(parts, arch, facts.image_size, facts.size_is_exact, weights.path))


def _pool_mlp_width(parts: dict[str, Tensor], facts: ConfigFacts, mlp_width: int) -> int | None:
    """Hidden values in the MLP of the attention pooling, None if they are as many as in the blocks, 0 without MLP."""
    if facts.pooling not in (ATTENTION, ATTENTIVE):
        return None
    hidden = parts.get("pool.mlp.fc1.weight")
    if hidden is None:
        return 0 if facts.norm == "rms" else None
    return None if len(hidden) == mlp_width else len(hidden)


def unflatten_stem(parts: dict[str, Tensor], patch_size: int) -> None:
    """Turn a patch embedding that is a linear layer over [row, column, channel] into a convolution."""
    stem = parts.get("stem.weight")
    if stem is not None and stem.dim() == 2 and stem.shape[1] % patch_size**2 == 0:
        parts["stem.weight"] = stem.view(len(stem), patch_size, patch_size, -1).permute(0, 3, 1, 2).contiguous()


def add_sinusoids(parts: dict[str, Tensor], facts: ConfigFacts, size: tuple[int, int] | None) -> ConfigFacts:
    """Add the positions of the size that the model runs at; return the facts with that size."""
    stem, stated = parts.get("stem.weight"), size or facts.image_size
    if stem is None or stem.dim() != 4 or 0 in stem.shape or stated is None:
        return facts
    rows, columns = (side // stem.shape[-1] for side in stated)
    parts["pos"] = grid_sinusoids(rows, columns, len(stem))
    return replace(facts, image_size=stated)
