"""What the config.json of transformers says about an architecture, by its model_type.

Each family lists what its class computes. A field that shapes the computation is read, or compared with the tensors.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.assemble import ConfigFacts
from janus_vit.model.checkpoints.names import common_names
from janus_vit.model.checkpoints.positions.rotary import RotaryFacts
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.image_size import MOST_PIXELS
from janus_vit.model.vit import Architecture
from janus_vit.planning.jsonfile import Section, shown
from janus_vit.planning.plan import MOST_TOKENS

_DEFAULT = {"num_attention_heads": 12, "layer_norm_eps": 1e-6, "image_size": 224, "hidden_act": "gelu"}
# Value of the field hidden_act -> name of the activation here.
HIDDEN_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}
# Field of a config -> attribute of the architecture that the tensors show: both must agree where the field is stated.
_SHOWN = {
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "intermediate_size": "mlp_width",
    "patch_size": "patch_size",
    "num_channels": "channels",
    "tubelet_size": "tubelet",
    "in_chans": "channels",
}
# Fields that change what any family computes, in a way that is not supported.
_REFUSED = ("auto_map", "quantization_config", "pruned_heads")


@dataclass(frozen=True, slots=True)
class _Family:
    """What the classes of one model_type compute.

    Attributes:
        with_classifier: pooling of the class with a classifier.
        without: pooling of the class without one.
        defaults: defaults of fields that its configs leave out.
        projects: whether the model embeds, even if a layer named like a classifier's follows.
        last_norm: whether the class with a classifier has a last norm.
        qkv_bias: the field that says whether queries have a bias; None if they always have.
        image_size: the field of the image size.
        frames: the field of the number of frames in a clip; None if it takes images.
        norm: kind of the norms, as in `Architecture`.
        naflex: whether it takes patches of images of any aspect ratio.
    """

    with_classifier: str
    without: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    projects: bool = False
    last_norm: bool = True
    qkv_bias: str | None = "qkv_bias"
    image_size: str = "image_size"
    frames: str | None = None
    norm: str = "layer"
    naflex: bool = False


_EXACT_EPS = {"layer_norm_eps": 1e-12}
_CLIP = _Family(
    "mean", "class", {"layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"}, True, last_norm=False, qkv_bias=None
)
_SIGLIP = _Family("mean", "attention", {"hidden_act": "gelu_pytorch_tanh"}, True, qkv_bias=None)
_SIGLIP2 = replace(_SIGLIP, naflex=True)
_AIMV2 = _Family(
    "attention",
    "attention",
    {"rms_norm_eps": 1e-5, "hidden_act": "silu", "num_attention_heads": 8},
    projects=True,
    qkv_bias=None,
    norm="rms",
)
FAMILIES: dict[str, _Family] = {
    "vit": _Family("class", "class", _EXACT_EPS),
    "deit": _Family("class", "class", _EXACT_EPS),
    "dinov2": _Family("class+mean", "class"),
    "dinov2_with_registers": _Family("class+mean", "class"),
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
    "aimv2": _AIMV2,
    "aimv2_vision_model": _AIMV2,
    "ijepa": _Family("mean", "mean", _EXACT_EPS),
    "vit_mae": _Family("class", "class", _EXACT_EPS),
    "vit_msn": _Family("class", "class"),
    "dinov3_vit": _Family("class", "class", {"layer_norm_eps": 1e-5, "rope_theta": 100.0}, qkv_bias=None),
    "vjepa2": _Family(
        "attentive",
        "mean",
        {"num_attention_heads": 16, "crop_size": 256, "frames_per_clip": 64},
        image_size="crop_size",
        frames="frames_per_clip",
    ),
    "videomae": _Family("mean", "mean", {**_EXACT_EPS, "num_frames": 16}, qkv_bias=None, frames="num_frames"),
}


def read_hugging_face_facts(weights: Weights, config: Section, with_head: bool, classifies: bool) -> ConfigFacts:
    """Read the facts that the tensors do not show.

    Args:
        weights: the tensors of the checkpoint.
        config: its config.json.
        with_head: whether to keep a classifier's last layer.
        classifies: whether there is such a layer, and it is kept.

    Raises:
        InputError: the family, or the value of a field, is not supported.
    """
    name = config.text("model_type")
    family = _find_family(config, name)
    for refused in _REFUSED:
        if config.values.get(refused):
            raise InputError(
                f"{config.source}: field {refused} is set, which is not supported: use a checkpoint without"
            )
    vision = _vision(config, family)
    if name == "videomae" and not vision.flag("use_mean_pooling", True):
        raise InputError(f"{config.source}: field use_mean_pooling is false: only mean pooling is supported")
    return ConfigFacts(
        heads=vision.integer("num_attention_heads", 1),
        norm_eps=vision.number("rms_norm_eps" if family.norm == "rms" else "layer_norm_eps", 0, 1),
        last_norm_eps=1e-5 if name == "videomae" else None,  # its config states only the other norms
        activation=_activation(vision, family),
        pooling=_pooling(family, vision, weights, classifies),
        frames=vision.integer(family.frames, 1, MOST_TOKENS) if family.frames else 1,
        image_size=read_sides(vision, family.image_size),
        size_is_exact=True,
        antialias=name == "dinov2_with_registers" or family.naflex,
        with_head=with_head,
        last_norm=family.last_norm or "classifier.weight" not in weights.tensors,
        rotary=_rotary(name, vision),
        norm=family.norm,
        has_sinusoids=family.norm == "rms" and vision.flag("is_native", False),
        flat_patch_size=vision.integer("patch_size", 1, MOST_PIXELS) if family.naflex else None,
        resize_mode="bilinear" if family.naflex else "bicubic",
    )


def check_stated_fields(config: Section, arch: Architecture, weights: Weights) -> None:
    """Check that the fields of a config and the tensors describe one architecture.

    Raises:
        InputError: they do not; the message names the field.
    """
    family = _find_family(config, config.text("model_type"))
    stated = config.section("vision_config") if "vision_config" in config.values else config
    for name, attribute in _SHOWN.items():
        if name not in stated.values or (name == "intermediate_size" and arch.activation == "swiglu"):
            continue
        value = stated.values[name]
        if name == "patch_size" and isinstance(value, list):
            value = value[0] if len(set(map(str, value))) == 1 else value
        if value != getattr(arch, attribute) and not (name == "tubelet_size" and arch.frames == 1):
            raise _disagrees(stated, name, value, getattr(arch, attribute))
    names = common_names(weights.tensors)
    if family.qkv_bias is not None:
        biased = "blocks.0.q.bias" in names or "blocks.0.attn.qkv.bias" in names
        if stated.flag(family.qkv_bias, True) != biased:
            raise _disagrees(stated, family.qkv_bias, not biased, biased)
    registers = weights.tensors[names["reg"]].numel() // arch.width if "reg" in names else 0
    if stated.values.get("num_register_tokens", registers) != registers:
        raise _disagrees(stated, "num_register_tokens", stated.values["num_register_tokens"], registers)
    for name in ("use_swiglu_ffn", "use_gated_mlp"):
        shown_gated = arch.activation == "swiglu"
        if stated.flag(name, shown_gated) != shown_gated:
            raise _disagrees(stated, name, not shown_gated, shown_gated)


def read_sides(section: Section, name: str) -> tuple[int, int]:
    """Read height and width from a field that holds one number or two."""
    values = section.values.get(name)
    if not isinstance(values, list):
        side = section.integer(name, 1, MOST_PIXELS)
        return side, side
    if len(values) != 2:
        raise section.wrong(name, f"must be one number or [height, width], not {shown(values)}")
    path = f"{section.path}.{name}" if section.path else name
    each = Section(section.source, path, {"0": values[0], "1": values[1]})
    return each.integer("0", 1, MOST_PIXELS), each.integer("1", 1, MOST_PIXELS)


def _find_family(config: Section, name: str) -> _Family:
    if name in FAMILIES:
        return FAMILIES[name]
    nearest = (difflib.get_close_matches(name, FAMILIES, 1, 0.0) or ["vit"])[0]
    raise InputError(
        f"{config.source}: field model_type is {name!r}, which is not supported; the nearest is {nearest!r} "
        f"(all: {', '.join(FAMILIES)})"
    )


def _vision(config: Section, family: _Family) -> Section:
    vision = config.section("vision_config") if "vision_config" in config.values else config
    values = {**_DEFAULT, **family.defaults, **vision.values}
    if family.naflex:
        values = {"patch_size": 16, "num_patches": 256, **values}
        whole = replace(vision, values=values)
        values["image_size"] = math.isqrt(whole.integer("num_patches", 1, MOST_TOKENS)) * whole.integer(
            "patch_size", 1, MOST_PIXELS
        )
    return replace(vision, values=values)


def _rotary(name: str, vision: Section) -> RotaryFacts | None:
    if name == "dinov3_vit":
        return RotaryFacts(vision.number("rope_theta", 1, 1e9), centred=True, interleaved=False)
    return RotaryFacts(of_clips=True) if name == "vjepa2" else None


def _activation(vision: Section, family: _Family) -> str:
    activation, gated = vision.text("hidden_act"), vision.flag("use_gated_mlp", False) or family.norm == "rms"
    if activation in HIDDEN_ACTIVATIONS and not gated:
        return HIDDEN_ACTIVATIONS[activation]
    if vision.flag("use_swiglu_ffn", False) or (gated and activation == "silu"):
        return "gelu"  # the gated MLP has an activation of its own
    if vision.flag("use_gated_mlp", False):
        raise InputError(
            f"{vision.source}: field hidden_act is {activation!r}: with use_gated_mlp only 'silu' is supported: use "
            "another checkpoint"
        )
    raise InputError(
        f"{vision.source}: field hidden_act is {activation!r}: supported are {', '.join(HIDDEN_ACTIVATIONS)}"
    )


def _pooling(family: _Family, vision: Section, weights: Weights, classifies: bool) -> str:
    if classifies:
        return family.with_classifier
    uses_head = vision.flag("vision_use_head", True) and vision.flag("use_head", True)
    if family.without == "attention" and not uses_head:
        return "mean"
    if not family.last_norm and "classifier.weight" in weights.tensors:
        return family.with_classifier  # what its last layer reads
    return family.without


def _disagrees(section: Section, name: str, stated: object, shown: object) -> InputError:
    path = f"{section.path}.{name}" if section.path else name
    return InputError(
        f"{section.source}: field {path} is {stated!r}, and the tensors show {shown!r}: copy both from one model"
    )
