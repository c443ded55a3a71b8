"""EoMT: what its config says. Its queries join before the last blocks."""

from __future__ import annotations

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
from janus_vit.model.checkpoints.hugging_face import HIDDEN_ACTIVATIONS
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.heads.base import DenseHead
from janus_vit.model.heads.masks import MaskHead
from janus_vit.model.tasks import SEGMENT
from janus_vit.model.vit import Architecture
from janus_vit.planning.jsonfile import Section
from janus_vit.planning.plan import MOST_BLOCKS, MOST_TOKENS

_QUERIES, _MASKED = "query.weight", "attn_mask_probs"
_MOST_ENLARGEMENTS = 4


def eomt(config: Section, weights: Weights) -> DenseSpec:
    """EoMT with DINOv2, as published: attention is not masked any more after training."""
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

    backbone = Section(config.source, "", {**config.values, "model_type": "dinov2_with_registers"})
    return DenseSpec(
        SEGMENT, "", backbone, (depth,), make,
        parts=("embeddings.", "layers.", "layernorm.", _QUERIES), unused=rf"criterion\.|{_MASKED}$", prepare=_renamed,
        fixed_size=True, classes=classes, late=LateTokens(_QUERIES, queries, late_block),
    )  # fmt: skip


def _refuse_masks(weights: Weights) -> None:
    masked = weights.tensors.get(_MASKED)
    if masked is not None and bool(masked.any()):
        raise InputError(
            f"{weights.path}: tensor {_MASKED} is not 0, so attention is masked as during training, which is not "
            "supported: use a checkpoint whose training has finished"
        )


def _renamed(tensors: Tensors, config: Section, size: Size) -> tuple[Tensors, Section]:
    """Give the positions the name that other families have."""
    name = "embeddings.position_embeddings"
    return {key.replace(f"{name}.weight", name): tensor for key, tensor in tensors.items()}, config
