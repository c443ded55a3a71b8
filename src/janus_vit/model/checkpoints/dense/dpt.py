"""Depth Anything and DPT: what their configs say."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional as F

from janus_vit.model.checkpoints.dense.spec import (
    MOST_CHANNELS,
    DenseSpec,
    Size,
    Tensors,
    checked_reads,
    integers,
    outputs_of,
    read_stages,
    refuse_if,
    with_defaults,
)
from janus_vit.model.checkpoints.hugging_face.config import read_sides
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.heads.base import DenseHead
from janus_vit.model.heads.dpt import (
    READOUTS,
    DepthAnythingLayers,
    DptDepthLayers,
    DptHead,
    DptSegmentHead,
    DptSegmentLayers,
    DptSettings,
)
from janus_vit.model.tasks import DEPTH, SEGMENT
from janus_vit.model.vit import Architecture
from janus_vit.planning.jsonfile import Section, is_number, shown

_FACTORS = (4, 2, 1, 0.5)
_LARGEST_DEPTH = 1e6
_POSITIONS = "embeddings.position_embeddings"
_CLASSIFIER = "head.head.4.weight"


def depth_anything(config: Section, weights: Weights) -> DenseSpec:
    """Depth Anything, versions 1 and 2: DINOv2 and a DPT head without class token."""
    config = with_defaults(
        config, reassemble_factors=[*_FACTORS], neck_hidden_sizes=[48, 96, 192, 384], fusion_hidden_size=64,
        head_in_index=-1, head_hidden_size=32, depth_estimation_type="relative", max_depth=1,
    )  # fmt: skip
    backbone, reads, last_norm = _backbone(config)
    kind = config.text("depth_estimation_type")
    refuse_if(config, "depth_estimation_type", kind not in ("relative", "metric"), "use 'relative' or 'metric'")
    hidden = config.integer("head_hidden_size", 1, MOST_CHANNELS)
    largest = config.number("max_depth", 0, _LARGEST_DEPTH) if config.values.get("max_depth") else 1.0

    def make(arch: Architecture) -> DenseHead:
        settings = _settings(config, arch, len(reads), exact_sizes=True)
        rows, columns = arch.grid
        size = rows * arch.patch_size, columns * arch.patch_size
        layers = DepthAnythingLayers(settings.fusion, hidden, size, kind == "metric", largest)
        return DptHead(settings, layers)

    return DenseSpec(DEPTH, "backbone.", backbone, reads, make, last_norm=last_norm)


def dpt(config: Section, weights: Weights) -> DenseSpec:
    """DPT with its own ViT, or with a DINOv2 backbone; depth or segmentation, as its tensors show."""
    config = with_defaults(
        config, reassemble_factors=[*_FACTORS], neck_hidden_sizes=[96, 192, 384, 768], fusion_hidden_size=256,
        head_in_index=-1, readout_type="project", backbone_out_indices=[2, 5, 8, 11], hidden_act="gelu",
    )  # fmt: skip
    refuse_if(config, "is_hybrid", config.flag("is_hybrid", False), "use a DPT without convolutional backbone")
    refuse_if(config, "hidden_act", config.values["hidden_act"] != "gelu", "only gelu is supported")
    segments = _CLASSIFIER in weights.tensors and "head.head.1.running_mean" in weights.tensors
    classes = outputs_of(weights, _CLASSIFIER) if segments else 0
    projected = config.flag("add_projection", False)
    if config.values.get("backbone_config"):
        prefix = "backbone."
        backbone, reads, last_norm = _backbone(config)
    else:
        prefix, last_norm = "dpt.", False
        values = {name: value for name, value in config.values.items() if name != "backbone_config"}
        backbone = Section(config.source, "", {**values, "model_type": "vit"})
        indices = checked_reads(config, "backbone_out_indices", config.array("backbone_out_indices"))
        reads = tuple(index + 1 for index in indices)

    def make(arch: Architecture) -> DenseHead:
        settings = _settings(config, arch, len(reads), exact_sizes=False)
        if segments:
            return DptSegmentHead(settings, DptSegmentLayers(settings.fusion, classes))
        return DptHead(settings, DptDepthLayers(settings.fusion, projected))

    task = SEGMENT if segments else DEPTH
    spec = DenseSpec(
        task, prefix, backbone, reads, make, last_norm=last_norm, unused=r"auxiliary_head\.", classes=classes
    )
    return spec if config.values.get("backbone_config") else replace(spec, prepare=_bilinear_positions)


def _backbone(config: Section) -> tuple[Section, tuple[int, ...], bool]:
    """Return a DINOv2 backbone's config, the blocks that the head reads, and whether they are normalised."""
    backbone = config.section("backbone_config")
    refuse_if(backbone, "model_type", backbone.values.get("model_type") != "dinov2", "only 'dinov2' is")
    return backbone, read_stages(backbone), backbone.flag("apply_layernorm", True)


def _settings(config: Section, arch: Architecture, reads: int, exact_sizes: bool) -> DptSettings:
    neck, factors = integers(config, "neck_hidden_sizes"), config.array("reassemble_factors")
    plausible = all(is_number(each) and each in (*range(1, 65), 0.5, 0.25, 0.125) for each in factors)
    if not plausible or not len(factors) == len(neck) == reads:
        raise config.wrong(
            "reassemble_factors", f"is {shown(factors)}: it must have one factor for each of the {reads} blocks"
        )
    readout = "ignore" if exact_sizes else config.text("readout_type")
    refuse_if(config, "readout_type", readout not in READOUTS, f"supported are {', '.join(READOUTS)}")
    batch_norm = config.flag("use_batch_norm_in_fusion_residual", False)
    return DptSettings(
        width=arch.width,
        neck=neck,
        factors=tuple(float(each) for each in factors),
        fusion=config.integer("fusion_hidden_size", 1, MOST_CHANNELS),
        readout=readout,
        batch_norm=batch_norm,
        bias=config.flag("use_bias_in_fusion_residual", not batch_norm),
        exact_sizes=exact_sizes,
        index=_index(config, reads),
    )


def _index(config: Section, reads: int) -> int:
    index = config.values["head_in_index"]
    if not isinstance(index, int) or not -reads <= index < reads:
        raise config.wrong("head_in_index", f"must be one of the {reads} fused grids")
    return index


def _bilinear_positions(tensors: Tensors, config: Section, size: Size) -> tuple[Tensors, Section]:
    """Interpolate positions as DPT's own code does. All other families use bicubic interpolation."""
    patch = config.integer("patch_size", 1, MOST_CHANNELS) if "patch_size" in config.values else 16
    trained = tuple(side // patch for side in read_sides(with_defaults(config, image_size=384), "image_size"))
    wanted = tuple(side // patch for side in size)
    values = {**config.values, "image_size": list(size)}
    positions = tensors.get(_POSITIONS)
    if (
        wanted == trained
        or positions is None
        or positions.dim() != 3
        or positions.shape[1] != 1 + trained[0] * trained[1]
    ):
        return tensors, with_defaults(config, image_size=384)
    grid = positions[:, 1:].float().reshape(1, *trained, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, size=wanted, mode="bilinear").permute(0, 2, 3, 1).flatten(1, 2)
    joined = torch.cat([positions[:, :1].float(), resized], dim=1)
    return {**tensors, _POSITIONS: joined}, Section(config.source, config.path, values)
