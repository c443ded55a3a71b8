"""Read the architecture from a config.json of transformers, by its model_type. `timm_config` reads those of timm."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from typing import Any

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.assemble import ConfigFacts
from janus_vit.model.checkpoints.names import is_hugging_face, is_timm
from janus_vit.model.checkpoints.timm_config import check_timm_config, read_timm_facts
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.planning.jsonfile import Section

# model_type -> pooling of a model with a classifier, and of one without.
_POOLING = {
    "vit": ("class", "class"),
    "deit": ("class", "class"),
    "dinov2": ("class+mean", "class"),
    "dinov2_with_registers": ("class+mean", "class"),
    "clip": ("class", "class"),
    "clip_vision_model": ("class", "class"),
    "siglip": ("mean", "attention"),
    "siglip_vision_model": ("mean", "attention"),
    "vit_mae": ("class", "class"),
    "videomae": ("mean", "mean"),
}
# Defaults of each family, which its configs leave out.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "vit": {"layer_norm_eps": 1e-12},
    "deit": {"layer_norm_eps": 1e-12},
    "vit_mae": {"layer_norm_eps": 1e-12},
    "videomae": {"layer_norm_eps": 1e-12, "num_frames": 16},
    "clip": {"layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"},
    "clip_vision_model": {"layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"},
    "siglip": {"hidden_act": "gelu_pytorch_tanh"},
    "siglip_vision_model": {"hidden_act": "gelu_pytorch_tanh"},
}
_DEFAULT = {"num_attention_heads": 12, "layer_norm_eps": 1e-6, "image_size": 224, "hidden_act": "gelu"}
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}
_PROJECTED = ("clip", "clip_vision_model", "siglip", "siglip_vision_model")


def read_config_facts(weights: Weights, config: Section | None, with_head: bool) -> ConfigFacts:
    """Read the facts that only the config shows. Weights of timm do not need a config.

    Args:
        weights: the tensors of the checkpoint.
        config: the config.json beside them, None if there is none.
        with_head: whether to keep a classifier's last layer.

    Raises:
        InputError: the family is not supported, or the config lacks a field.
    """
    names = weights.tensors
    if is_timm(names):
        if config is not None:
            check_timm_config(config)
        return read_timm_facts(weights, config, with_head)
    if not is_hugging_face(names):
        raise InputError(
            f"{weights.path}: its tensors are not those of a Vision Transformer of timm or transformers "
            f"(found {', '.join(sorted(names)[:3])}, ...): supported are {', '.join(_POOLING)} and timm's vit and deit"
        )
    if config is None:
        raise InputError(f"{weights.path}: its config.json is missing: copy the whole folder")
    return _read_hugging_face_facts(weights, config, with_head)


def embeds(weights: Weights, config: Section | None) -> bool:
    """Whether the checkpoint is an embedding model, not a classifier."""
    if "classifier.weight" in weights.tensors:
        return False
    if config is not None and config.values.get("model_type") in _PROJECTED:
        return True
    return not any(re.search(r"(^|\.)(head|classifier|cls_classifier)\.weight$", name) for name in weights.tensors)


def _read_hugging_face_facts(weights: Weights, config: Section, with_head: bool) -> ConfigFacts:
    family = config.text("model_type")
    if family not in _POOLING:
        nearest = (difflib.get_close_matches(family, _POOLING, 1, 0.0) or ["vit"])[0]
        raise InputError(
            f"{config.source}: field model_type is {family!r}, which is not supported; the nearest is {nearest!r} "
            f"(all: {', '.join(_POOLING)})"
        )
    vision = config.section("vision_config") if "vision_config" in config.values else config
    vision = replace(vision, values={**_DEFAULT, **_DEFAULTS.get(family, {}), **vision.values})
    activation = vision.text("hidden_act")
    if activation not in _ACTIVATIONS:
        raise InputError(
            f"{config.source}: field hidden_act is {activation!r}: supported are {', '.join(_ACTIVATIONS)}"
        )
    if family.startswith("clip") and "classifier.weight" in weights.tensors:
        raise InputError(f"{config.source}: a CLIP with a classifier is not supported: use CLIP itself, which embeds")
    if family == "videomae" and not vision.values.get("use_mean_pooling", True):
        raise InputError(f"{config.source}: field use_mean_pooling is false: only mean pooling is supported")
    classifies = with_head and not embeds(weights, config)
    return ConfigFacts(
        heads=vision.integer("num_attention_heads", 1),
        norm_eps=vision.number("layer_norm_eps", 0),
        last_norm_eps=1e-5 if family == "videomae" else None,  # its config states only the other norms
        activation=_ACTIVATIONS[activation],
        pooling=_POOLING[family][0 if classifies else 1],
        frames=vision.integer("num_frames", 1) if family == "videomae" else 1,
        image_size=vision.integer("image_size", 1),
        antialias=family == "dinov2_with_registers",
        with_head=with_head,
    )
