"""Turn a checkpoint of OpenCLIP into one of transformers, or of timm if timm made its image tower."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.open_clip.config import activation_of, check_config, config_of, preprocessing_of
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.planning.jsonfile import Section

_TOWER, _TRUNK = "visual.", "visual.trunk."
_LAYER = r"^visual\.transformer\.resblocks\.(\d+)\."
_RULES = (
    (r"^visual\.class_embedding$", "embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.", "embeddings.patch_embedding."),
    (r"^visual\.ln_pre\.", "pre_layrnorm."),
    (r"^visual\.ln_post\.", "post_layernorm."),
    (_LAYER + r"ln_([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (_LAYER + r"ls_([12])\.gamma$", r"encoder.layers.\1.layer_scale\2.lambda1"),
    (_LAYER + r"attn\.out_proj\.", r"encoder.layers.\1.self_attn.out_proj."),
    (_LAYER + r"mlp\.c_fc\.", r"encoder.layers.\1.mlp.fc1."),
    (_LAYER + r"mlp\.c_proj\.", r"encoder.layers.\1.mlp.fc2."),
)


def is_open_clip(weights: Weights) -> bool:
    """Whether the tensors have the names of OpenCLIP."""
    return any(name.startswith((_TRUNK, f"{_TOWER}conv1.")) for name in weights.tensors)


def translate(weights: Weights, config: Section | None, architecture: str | None) -> tuple[Weights, Section]:
    """Return the image tower as a checkpoint of transformers or of timm.

    Args:
        weights: the tensors of both towers.
        config: open_clip_config.json, None if there is none.
        architecture: OpenCLIP's name of the architecture, if there is no config.

    Raises:
        InputError: the config is missing or has a field that is not supported, or nobody names the architecture.
    """
    if config is None:
        config = config_of(weights.path, architecture)
    elif architecture is not None:
        raise InputError(f"{config.source}: says what the checkpoint is: leave out --architecture {architecture}")
    model = config.section("model_cfg")
    vision = model.section("vision_cfg")
    check_config(model, vision)
    preprocessing = preprocessing_of(config, vision)
    if "timm_model_name" in vision.values:
        return _timm_tower(weights, vision, preprocessing)
    return _own_tower(weights, model, vision, preprocessing)


def _timm_tower(weights: Weights, vision: Section, preprocessing: dict[str, Any]) -> tuple[Weights, Section]:
    tensors = {name.removeprefix(_TRUNK): value for name, value in weights.tensors.items() if name.startswith(_TRUNK)}
    if any(name.startswith("visual.head.mlp.") for name in weights.tensors):
        raise InputError(f"{vision.source}: field vision_cfg.timm_proj is 'mlp': supported are linear and none")
    if "visual.head.proj.weight" in weights.tensors:
        head = weights.tensors["visual.head.proj.weight"]
        tensors["head.weight"] = head
        tensors["head.bias"] = weights.tensors.get("visual.head.proj.bias", torch.zeros(len(head)))
    values: dict[str, Any] = {
        "architecture": vision.text("timm_model_name"),
        "model_type": "clip_vision_model",  # its last layer gives embeddings, not classes
        "pretrained_cfg": preprocessing,
    }
    if vision.values.get("timm_pool"):
        values["global_pool"] = vision.values["timm_pool"]
    return replace(weights, tensors=tensors), Section(vision.source, "", values)


def _own_tower(
    weights: Weights, model: Section, vision: Section, preprocessing: dict[str, Any]
) -> tuple[Weights, Section]:
    tensors: dict[str, Tensor] = {}
    for name, value in weights.tensors.items():
        if name.startswith(_TOWER):
            tensors |= _renamed(name, value)
    width, head_width = vision.integer("width", 1), 64
    if "head_width" in vision.values:
        head_width = vision.integer("head_width", 1)
    if "embeddings.patch_embedding.weight" in tensors:
        shown = len(tensors["embeddings.patch_embedding.weight"])
        if shown != width:
            raise InputError(
                f"{vision.source}: field vision_cfg.width is {width}, and the tensors show {shown}: copy both from one "
                "model"
            )
        tensors["embeddings.patch_embedding.bias"] = torch.zeros(width)
    if "visual_projection.weight" in tensors:
        tensors["visual_projection.bias"] = torch.zeros(len(tensors["visual_projection.weight"]))
    norm: Mapping[str, Any] = vision.section("norm_kwargs").values if vision.values.get("norm_kwargs") else {}
    values = {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "num_hidden_layers": vision.integer("layers", 1),
        "num_attention_heads": max(1, width // head_width),
        "patch_size": vision.integer("patch_size", 1),
        "image_size": vision.values.get("image_size", 224),
        "hidden_act": activation_of(model, vision),
        "layer_norm_eps": norm.get("eps", 1e-5),
        "pretrained_cfg": preprocessing,
    }
    return replace(weights, tensors=tensors), Section(vision.source, "", values)


def _renamed(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return a tensor under the names of transformers, where query, key and value are three."""
    if name == "visual.proj" and value.dim() == 2:
        return {"visual_projection.weight": value.T.contiguous()}
    whole = re.match(_LAYER + r"attn\.in_proj_(weight|bias)$", name)
    if whole and len(value) % 3 == 0:
        parts = zip("qkv", value.chunk(3), strict=True)
        return {f"encoder.layers.{whole[1]}.self_attn.{part}_proj.{whole[2]}": each for part, each in parts}
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return {name: value}
