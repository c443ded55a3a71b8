"""Read open_clip_config.json: what it says about the image tower, and what is refused. Knows no tensor."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import Section

CONFIG = "open_clip_config.json"
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # OpenCLIP's defaults
# Fields of vision_cfg that are read, that the tensors show, or that only training uses.
_FIELDS = frozenset({
    "image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio", "ls_init_value", "no_ln_pre", "pool_type",
    "final_ln_after_pool", "pos_embed_type", "patch_dropout", "output_tokens", "norm_kwargs", "act_kwargs",
    "attentional_pool", "timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias",
    "timm_drop", "timm_drop_path", "timm_patch_drop",
})  # fmt: skip
# Name of OpenCLIP -> image size, patch size, width, layers and head width of its image tower.
NAMES = {
    "ViT-B-32": (224, 32, 768, 12, 64),
    "ViT-B-32-256": (256, 32, 768, 12, 64),
    "ViT-B-16": (224, 16, 768, 12, 64),
    "ViT-L-14": (224, 14, 1024, 24, 64),
    "ViT-L-14-336": (336, 14, 1024, 24, 64),
    "ViT-H-14": (224, 14, 1280, 32, 80),
    "ViT-H-14-378": (378, 14, 1280, 32, 80),
    "ViT-g-14": (224, 14, 1408, 40, 88),
    "ViT-bigG-14": (224, 14, 1664, 48, 104),
}
_QUICK = "-quickgelu"


def config_of(path: Path, architecture: str | None) -> Section:
    """Return the config that OpenCLIP's name of an architecture stands for, for the weights at `path`.

    Raises:
        InputError: there is no name, or it is not supported.
    """
    if architecture is None:
        raise InputError(
            f"{path}: no {CONFIG} beside it, and its tensors do not show everything that OpenCLIP computes: "
            "use --architecture NAME, such as ViT-B-32"
        )
    name = architecture.removesuffix(_QUICK)
    if name not in NAMES:
        nearest = difflib.get_close_matches(name, NAMES, 1, 0.0)[0]
        raise InputError(
            f"--architecture {architecture!r} is not supported: the nearest supported one is {nearest!r} (all: "
            f"{', '.join(NAMES)}, each also with {_QUICK})"
        )
    vision = dict(zip(("image_size", "patch_size", "width", "layers", "head_width"), NAMES[name], strict=True))
    values = {"model_cfg": {"vision_cfg": vision, "quick_gelu": architecture.endswith(_QUICK)}}
    return Section(f"--architecture {architecture}", "", values)


def check_config(model: Section, vision: Section) -> None:
    """Check that nothing changes the image tower in a way that is not supported.

    Args:
        model: the field model_cfg.
        vision: its field vision_cfg.

    Raises:
        InputError: something does; the message names the field.
    """
    unknown = sorted(vision.values.keys() - _FIELDS)
    if unknown or vision.values.get("attentional_pool") or model.values.get("multimodal_cfg"):
        field = f"vision_cfg.{unknown[0]}" if unknown else "attentional_pool or multimodal_cfg"
        raise InputError(
            f"{model.source}: field {field} changes the image tower in a way that is not supported: use another "
            "checkpoint"
        )
    if vision.values.get("pool_type", "tok") != "tok":
        raise InputError(
            f"{model.source}: field vision_cfg.pool_type is {vision.values['pool_type']!r}: only tok, the class token, "
            "is supported"
        )


def preprocessing_of(config: Section, vision: Section) -> dict[str, Any]:
    """Return timm's pretrained_cfg for OpenCLIP's preprocess_cfg.

    Raises:
        InputError: images are resized in a way that is not supported.
    """
    stated: Mapping[str, Any] = config.section("preprocess_cfg").values if "preprocess_cfg" in config.values else {}
    mode = stated.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise InputError(
            f"{config.source}: field preprocess_cfg.resize_mode is {mode!r}: supported are shortest and squash"
        )
    size = stated.get("size") or vision.values.get("image_size", 224)
    return {
        "input_size": [3, *(size if isinstance(size, list) else (size, size))],
        "mean": stated.get("mean") or list(_MEAN),
        "std": stated.get("std") or list(_STD),
        "interpolation": stated.get("interpolation") or "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "squash" if mode == "squash" else "center",
    }


def activation_of(model: Section, vision: Section) -> str:
    """Return the activation of the image tower, as transformers calls it.

    Raises:
        InputError: it is not supported.
    """
    if model.flag("quick_gelu", False):
        return "quick_gelu"
    stated = vision.values.get("act_kwargs") or {}
    if stated not in ({}, {"approximate": "tanh"}):
        raise InputError(f"{vision.source}: field vision_cfg.act_kwargs is {stated!r}, which is not supported")
    return "gelu_pytorch_tanh" if stated else "gelu"
