"""EoMT: what its config says. Its queries join before the last blocks."""

from __future__ import annotations

import re
from collections.abc import Callable

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.dense.spec import (
    DenseSpec,
    LateTokens,
    Size,
    Tensors,
    outputs_of,
    refuse_if,
    with_defaults,
)
from janus_vit.model.checkpoints.hugging_face.config import HIDDEN_ACTIVATIONS
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.heads.base import DenseHead
from janus_vit.model.heads.masks import MaskHead
from janus_vit.model.tasks import SEGMENT
from janus_vit.model.vit import Architecture
from janus_vit.planning.jsonfile import Section
from janus_vit.planning.plan import MOST_BLOCKS, MOST_TOKENS

Prepared = tuple[Tensors, Section]
_QUERIES, _MASKED = "query.weight", "attn_mask_probs"
_MOST_ENLARGEMENTS = 4


def eomt(config: Section, weights: Weights) -> DenseSpec:
    """EoMT with DINOv2, as published: attention is not masked any more after training."""
    return _eomt(config, weights, "dinov2_with_registers", _renamed)


def eomt_dinov3(config: Section, weights: Weights) -> DenseSpec:
    """EoMT with DINOv3. Its rotary positions are those of DINOv3; queries have none."""
    config = with_defaults(config, layer_norm_eps=1e-6, rope_parameters={"rope_theta": 100.0})
    rope = config.section("rope_parameters")
    refuse_if(rope, "rope_type", rope.values.get("rope_type", "default") != "default", "only 'default' is")
    config = Section(config.source, config.path, {**config.values, "rope_theta": rope.number("rope_theta", 1, 1e9)})
    return _eomt(config, weights, "dinov3_vit", _renamed_dinov3)


def _eomt(
    config: Section, weights: Weights, backbone_type: str, prepare: Callable[[Tensors, Section, Size], Prepared]
) -> DenseSpec:
    config = with_defaults(
        config, num_attention_heads=16, num_hidden_layers=24, image_size=640, patch_size=16, num_register_tokens=4,
        num_blocks=4, num_queries=200, num_upscale_blocks=2, hidden_act="gelu",
    )  # fmt: skip
    activation = config.text("hidden_act")
    refuse_if(config, "hidden_act", activation not in HIDDEN_ACTIVATIONS, f"use one of {', '.join(HIDDEN_ACTIVATIONS)}")
    depth = config.integer("num_hidden_layers", 2, MOST_BLOCKS)
    late_block = depth - config.integer("num_blocks", 1, depth - 1)
    queries = config.integer("num_queries", 1, MOST_TOKENS)
    enlargements = config.integer("num_upscale_blocks", 0, _MOST_ENLARGEMENTS)
    classes = outputs_of(weights, "class_predictor.weight") - 1
    _refuse_masks(weights)

    def make(arch: Architecture) -> DenseHead:
        return MaskHead(arch.width, classes, queries, enlargements, HIDDEN_ACTIVATIONS[activation], arch.size)

    backbone = Section(config.source, "", {**config.values, "model_type": backbone_type})
    return DenseSpec(
        SEGMENT, "", backbone, (depth,), make,
        parts=("embeddings.", "layers.", "layernorm.", _QUERIES), unused=rf"criterion\.|{_MASKED}$", prepare=prepare,
        fixed_size=True, classes=classes, late=LateTokens(_QUERIES, queries, late_block), square_only=True,
    )  # fmt: skip


def _refuse_masks(weights: Weights) -> None:
    masked = weights.tensors.get(_MASKED)
    if masked is not None and bool(masked.any()):
        raise InputError(
            f"{weights.path}: tensor {_MASKED} is not 0, so attention is masked as during training, which is not "
            "supported: use a checkpoint whose training has finished"
        )


def _renamed_dinov3(tensors: Tensors, config: Section, size: Size) -> Prepared:
    """Give the tensors the names that they have in DINOv3 itself."""
    names = {key: re.sub(r"^layers\.", "model.layer.", re.sub(r"^layernorm\.", "norm.", key)) for key in tensors}
    return {names[key]: tensor for key, tensor in tensors.items()}, config


def _renamed(tensors: Tensors, config: Section, size: Size) -> Prepared:
    """Give the positions the name that other families have."""
    name = "embeddings.position_embeddings"
    return {key.replace(f"{name}.weight", name): tensor for key, tensor in tensors.items()}, config
