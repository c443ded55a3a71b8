"""Read the metadata of janus-vit's own checkpoints and check every field."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from janus_vit.errors import InputError
from janus_vit.model.image_size import MOST_PIXELS
from janus_vit.model.layers import ACTIVATIONS, GATED, NORMS
from janus_vit.model.preprocessing import INTERPOLATIONS, LARGEST_MEAN, LEAST_STD, Preprocessing
from janus_vit.model.rotary import ROTARIES
from janus_vit.model.vit import POOLINGS, STEMS, Architecture
from janus_vit.planning.jsonfile import Section, is_number, shown
from janus_vit.planning.plan import MOST_BLOCKS, MOST_TOKENS

_CHOICES: Mapping[str, Collection[str]] = {
    "pooling": POOLINGS,
    "stem": STEMS,
    "activation": (*ACTIVATIONS, GATED),
    "rotary": ROTARIES,
    "norm": NORMS,
    "interpolation": INTERPOLATIONS,
}
_MAY_BE_ZERO = ("classes", "prefix", "pool_depth", "stem_padding", "pool_mlp_width", "late_tokens", "late_block")
# Far beyond real models: larger numbers are damage.
_LARGEST = {
    "pool_heads": 1 << 12, "pool_mlp_width": 1 << 20, "pool_depth": MOST_BLOCKS,
    "depth": MOST_BLOCKS, "width": 1 << 16, "mlp_width": 1 << 20, "classes": 1 << 24, "prefix": MOST_TOKENS,
    "heads": 1 << 12, "patch_size": 1 << 12, "stem_padding": 1 << 12, "channels": 3,
    "norm_eps": 1.0, "last_norm_eps": 1.0, "late_tokens": 0, "late_block": 0,  # only dense heads read late tokens
}  # fmt: skip


def parse_architecture(section: Section) -> Architecture:
    """Read the architecture of the network.

    Raises:
        InputError: a field is missing, unknown or impossible; the message names it.
    """
    arch = Architecture(**_fields(section, Architecture))
    if arch.channels == 2:
        raise section.wrong("channels", "must be 1 or 3")
    if arch.stem == "conv" and arch.width % arch.patch_size:
        raise section.wrong("patch_size", f"is {arch.patch_size}, which does not divide width {arch.width}")
    if arch.tokens > MOST_TOKENS:
        raise section.wrong("image_size", f"gives {arch.tokens} tokens, and a model has at most {MOST_TOKENS}")
    if arch.width % arch.heads:
        raise section.wrong("heads", f"is {arch.heads}, which does not divide width {arch.width}")
    if arch.width % (arch.pool_heads or arch.heads):
        raise section.wrong("pool_heads", f"is {arch.pool_heads}, which does not divide width {arch.width}")
    if arch.rotary and arch.width // arch.heads % 2:
        raise section.wrong("rotary", f"needs heads of an even width, not {arch.width // arch.heads}")
    if arch.mlp_norm and arch.activation == "quick_gelu":
        raise section.wrong("mlp_norm", "is not supported with the activation quick_gelu")
    if arch.taps and arch.taps[-1] >= arch.depth:
        raise section.wrong("taps", f"is {list(arch.taps)}, and the model has {arch.depth} blocks")
    if arch.frames % arch.tubelet:
        raise section.wrong("tubelet", f"is {arch.tubelet}, which does not divide frames {arch.frames}")
    least = 2 if arch.distilled else 1 if "class" in arch.pooling else 0
    if arch.prefix < least:
        raise section.wrong("prefix", f"is {arch.prefix}, and the head reads {least} of those tokens")
    return arch


def parse_preprocessing(section: Section) -> Preprocessing:
    """Read how frames become pixels.

    Raises:
        InputError: a field is missing, unknown or impossible; the message names it.
    """
    found = Preprocessing(**_fields(section, Preprocessing))
    if min(found.std) < LEAST_STD:
        raise section.wrong("std", f"must be above 0 in each channel, at least {LEAST_STD:g}")
    height, width = found.size
    resized = found.resize or height, found.resize_width or found.resize or width
    if resized[0] < height or resized[1] < width:
        raise section.wrong("resize", "is smaller than image_size, so that no image could be cropped")
    return found


def _fields(section: Section, kind: type) -> dict[str, Any]:
    """Read the fields of a dataclass. Fields with a default may be missing, as in files of older versions."""
    unknown = sorted(section.values.keys() - {item.name for item in fields(kind)})
    if unknown:
        raise InputError(
            f"{section.source}: field {section.path} has unknown keys ({', '.join(unknown)}): "
            "was it made by a newer janus-vit?"
        )
    required = {item.name for item in fields(kind) if item.default is MISSING}
    hints = get_type_hints(kind)
    return {name: _value(section, name, hints[name]) for name in hints if name in section.values or name in required}


def _value(section: Section, name: str, hint: Any) -> Any:
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if NoneType in kinds and name in section.values and section.values[name] is None:
        return None
    if bool in kinds:
        if not isinstance(section.values.get(name), bool):
            raise section.wrong(name, "must be true or false")
        return section.values[name]
    if int in kinds:
        return section.integer(name, 0 if name in _MAY_BE_ZERO else 1, _LARGEST.get(name, MOST_PIXELS))
    if float in kinds:
        return section.number(name, 0.0, _LARGEST.get(name, MOST_PIXELS))
    if get_origin(hint) is tuple:
        return _block_numbers(section, name) if Ellipsis in get_args(hint) else _three(section, name)
    text = section.text(name)
    if text not in _CHOICES[name]:
        raise section.wrong(name, f"is {shown(text)}, not one of {', '.join(_CHOICES[name])}")
    return text


def _block_numbers(section: Section, name: str) -> tuple[int, ...]:
    values = section.array(name)
    if not all(type(value) is int and 0 <= value <= MOST_BLOCKS for value in values) or values != sorted(set(values)):
        raise section.wrong(name, "must be numbers of blocks, rising")
    return tuple(values)


def _three(section: Section, name: str) -> tuple[float, ...]:
    values = section.array(name)
    if len(values) != 3 or not all(map(is_number, values)) or max(map(abs, values)) > LARGEST_MEAN:
        raise section.wrong(name, "must be three finite numbers, one for each channel")
    return tuple(map(float, values))
