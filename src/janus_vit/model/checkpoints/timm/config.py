"""Read the config.json that timm writes beside its weights."""

from __future__ import annotations

import difflib
import re

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.assemble import ConfigFacts
from janus_vit.model.checkpoints.hugging_face.config import read_sides
from janus_vit.model.checkpoints.processors import read_input_size
from janus_vit.model.checkpoints.timm import eva
from janus_vit.model.checkpoints.timm.names import COMPARED_NAMES, COMPARED_WITH, SHAPES, TimmShape
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.vit import Architecture
from janus_vit.planning.jsonfile import Section, shown

_POOLING = {"token": "class", "avg": "mean", "map": "attention"}
_SHAPE_ARGUMENTS = {"width": "embed_dim", "depth": "depth", "heads": "num_heads", "patch_size": "patch_size"}
_WITHOUT_LAST_NORM = ("vit_intern300m_patch14_448",)
_TANH_GELU = re.compile(r"large_patch16_siglip.*_512$|patch32_siglip|so400m_patch16_siglip|giantopt")
# Arguments of timm's VisionTransformer that the weights show, that this module reads, or that only training uses.
_SUPPORTED_ARGUMENTS = frozenset({
    "img_size", "patch_size", "in_chans", "num_classes", "global_pool", "embed_dim", "depth", "num_heads", "mlp_ratio",
    "qkv_bias", "init_values", "class_token", "no_embed_class", "reg_tokens", "pre_norm", "fc_norm", "dynamic_img_size",
    "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate",
    "weight_init", "fix_init", "final_norm", "num_reg_tokens",
})  # fmt: skip


def check_timm_config(config: Section) -> None:
    """Refuse an architecture that was not compared with timm.

    Raises:
        InputError: the architecture is not in `COMPARED_NAMES`, or one of model_args changes it in an unknown way.
    """
    name = config.text("architecture").partition(".")[0]  # timm allows NAME.TAG
    if name not in COMPARED_NAMES:
        nearest = difflib.get_close_matches(name, sorted(COMPARED_NAMES), 1, 0.0)[0]
        raise InputError(
            f"{config.source}: field architecture is {name!r}, which is not supported: its answers were not compared "
            f"with those of timm {COMPARED_WITH}; the nearest supported one is {nearest!r} (all: docs/models.md): "
            "use a checkpoint of that architecture"
        )
    arguments = _model_args(config)
    if arguments is None:
        return
    unknown = sorted(arguments.values.keys() - _SUPPORTED_ARGUMENTS)
    if unknown:
        raise InputError(
            f"{config.source}: field model_args.{unknown[0]} changes {name!r} in a way that is not supported: use a "
            f"checkpoint without it (supported are {', '.join(sorted(_SUPPORTED_ARGUMENTS))})"
        )
    if "embed_dim" in arguments.values and "num_heads" not in arguments.values:
        raise InputError(f"{config.source}: field model_args.embed_dim is set without num_heads: add num_heads")


def check_classes(config: Section, arch: Architecture) -> None:
    """Check that the fields num_classes are the number of outputs that the tensors show.

    Raises:
        InputError: one is not: timm would draw a new last layer at random.
    """
    for section in (config, _model_args(config)):
        stated = None if section is None else section.values.get("num_classes")
        if section is not None and stated is not None and stated != arch.classes:
            raise section.wrong("num_classes", f"is {shown(stated)}, and the tensors show {arch.classes}")


def read_timm_facts(weights: Weights, config: Section, with_head: bool) -> ConfigFacts:
    """Read the facts that timm's tensors do not show.

    Args:
        weights: the tensors under timm's names.
        config: timm's config.json, with the field `architecture`.
        with_head: whether to keep a classifier's last layer.

    Raises:
        InputError: the tensors have another shape than the architecture, or the pooling is not supported.
    """
    name, arguments = config.text("architecture").partition(".")[0], _model_args(config)
    pooling = _pooling(weights, config, arguments)
    if eva.is_eva(name):
        return ConfigFacts(
            heads=_shape(weights, config, arguments).heads,
            norm_eps=eva.norm_eps(name),
            pooling=pooling,
            image_size=_stated_size(config, arguments),
            last_norm=eva.has_last_norm(name),
            antialias=True,
            with_head=with_head,
            rotary=eva.rotary_of(name),
            pool_heads=eva.pool_heads(name) if pooling == "attention" else None,
        )
    return ConfigFacts(
        heads=_shape(weights, config, arguments).heads,
        norm_eps=1e-5 if "_clip_" in name or _is_aimv2(name) else 1e-6,
        activation=_activation(name),
        pooling=pooling,
        image_size=_stated_size(config, arguments),
        last_norm=_has_last_norm(name, arguments),
        antialias=True,
        with_head=with_head,
        norm="rms" if _is_aimv2(name) else "layer",
    )


def _is_aimv2(name: str) -> bool:
    return name.startswith("aimv2_")


def _model_args(config: Section) -> Section | None:
    return config.section("model_args") if config.values.get("model_args") else None


def _stated_size(config: Section, arguments: Section | None) -> tuple[int, int] | None:
    """Return height and width of the images from model_args, or from pretrained_cfg; None if neither states them."""
    if arguments is not None and "img_size" in arguments.values:
        return read_sides(arguments, "img_size")
    if not config.values.get("pretrained_cfg"):
        return None
    return read_input_size(config.section("pretrained_cfg"))[1:]


def _has_last_norm(name: str, arguments: Section | None) -> bool:
    usual = name not in _WITHOUT_LAST_NORM
    return usual if arguments is None else arguments.flag("final_norm", usual)


def _shape(weights: Weights, config: Section, arguments: Section | None) -> TimmShape:
    """Return the shape that name and model_args stand for. The tensors must have it."""
    name = config.text("architecture").partition(".")[0]
    values = SHAPES[name]._asdict() if name in SHAPES else {}
    for field, argument in _SHAPE_ARGUMENTS.items():
        if arguments is not None and argument in arguments.values:
            values[field] = arguments.integer(argument, 1)
    if len(values) < len(_SHAPE_ARGUMENTS):
        raise InputError(f"{config.source}: field architecture is {name!r}, whose shape is unknown: use another")
    stem = weights.tensors.get("patch_embed.proj.weight")
    shape = () if stem is None else tuple(stem.shape)
    found = {
        "width": shape[0] if shape else 0,
        "depth": len({key.split(".")[1] for key in weights.tensors if re.match(r"blocks\.\d+\.", key)}),
        "patch_size": shape[-1] if shape else 0,
    }
    for field, value in found.items():
        if value != values[field]:
            raise InputError(
                f"{weights.path}: architecture {name!r} has {field} {values[field]}, and the tensors have {value}: use "
                "the name and the model_args of this checkpoint"
            )
    return TimmShape(**values)


def _pooling(weights: Weights, config: Section, arguments: Section | None) -> str:
    """Prefer model_args, as timm does: the top-level field is only for information."""
    name = config.text("architecture").partition(".")[0]
    if arguments is not None and "global_pool" in arguments.values:
        pooling = arguments.values["global_pool"]
    else:
        usual = eva.usual_pooling(name) if eva.is_eva(name) else _usual_pooling(weights)
        pooling = config.values.get("global_pool") or usual
    if not isinstance(pooling, str) or pooling not in _POOLING:
        raise InputError(f"{config.source}: field global_pool is {pooling!r}: supported are {', '.join(_POOLING)}")
    if pooling == "map" and not eva.is_eva(name) and not weights.tensors.keys().isdisjoint(("cls_token", "reg_token")):
        raise InputError(
            f"{config.source}: attention pooling (global_pool 'map') with class or register tokens is not supported, "
            "because timm pools only the patches: use a checkpoint without these tokens"
        )
    return _POOLING[pooling]


def _usual_pooling(weights: Weights) -> str:
    if "attn_pool.latent" in weights.tensors:
        return "map"
    return "avg" if "fc_norm.weight" in weights.tensors or "cls_token" not in weights.tensors else "token"


def _activation(name: str) -> str:
    if "quickgelu" in name:
        return "quick_gelu"
    return "gelu_tanh" if _TANH_GELU.search(name) else "gelu"
