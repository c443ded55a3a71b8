"""Compare what the config.json of transformers states with what the tensors beside it show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.hugging_face.config import Family, find_family
from janus_vit.model.checkpoints.names import common_names
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.vit import ATTENTIVE, Architecture
from janus_vit.planning.jsonfile import Section

# Field of a config -> attribute of the architecture that the tensors show: both must agree where the field is stated.
_SHOWN = {
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "intermediate_size": "mlp_width",
    "patch_size": "patch_size",
    "num_channels": "channels",
    "tubelet_size": "tubelet",
    "in_chans": "channels",
    "num_pooler_layers": "pool_depth",
}
_PROJECTION = "visual_projection.weight"
_LARGEST_RATIO = 1e4


def check_stated_fields(config: Section, arch: Architecture, weights: Weights) -> None:
    """Check that the fields of a config and the tensors describe one architecture.

    Args:
        config: the config.json.
        arch: the architecture that the tensors show.
        weights: the tensors.

    Raises:
        InputError: they do not; the message names the field.
    """
    family = find_family(config, config.text("model_type"))
    stated = config.section("vision_config") if "vision_config" in config.values else config
    for name, attribute in _SHOWN.items():
        if name in stated.values and _counts(name, family, arch):
            _check_shown(stated, name, getattr(arch, attribute))
    names = common_names(weights.tensors)
    for name, found in _biases(stated, family, names, arch.depth):
        _check_flag(stated, name, found, family.biases[name][0])
    registers = weights.tensors[names["reg"]].numel() // arch.width if "reg" in names else 0
    _check_shown(stated, "num_register_tokens", registers)
    for name in ("use_swiglu_ffn", "use_gated_mlp"):
        _check_flag(stated, name, arch.activation == "swiglu", arch.activation == "swiglu")
    if family.mlp_ratio is not None:
        _check_ratio(stated, family.mlp_ratio, arch)
    if _PROJECTION in weights.tensors:
        _check_shown(config, "projection_dim", weights.tensors[_PROJECTION].shape[0])


def _counts(name: str, family: Family, arch: Architecture) -> bool:
    """Whether the family's class reads a field."""
    if name == "intermediate_size":
        return family.mlp_ratio is None
    if name == "tubelet_size":
        return arch.frames > 1
    return name != "num_pooler_layers" or arch.pooling == ATTENTIVE


def _biases(stated: Section, family: Family, names: dict[str, str], depth: int) -> Iterator[tuple[str, bool]]:
    """Yield each flag of biases, and whether the tensors have them; if some blocks do, what the flag does not say."""
    for flag, (default, layer) in family.biases.items():
        whole = "attn.qkv" if layer in "qkv" else layer
        biased = [f"blocks.{n}.{layer}.bias" in names or f"blocks.{n}.{whole}.bias" in names for n in range(depth)]
        yield flag, all(biased) if stated.flag(flag, default) else any(biased)


def _check_flag(stated: Section, name: str, found: bool, default: bool) -> None:
    if stated.flag(name, default) != found:
        raise _disagrees(stated, name, not found, found)


def _check_shown(stated: Section, name: str, found: int) -> None:
    value = stated.values.get(name, found)
    if name == "patch_size" and isinstance(value, list):
        value = value[0] if len(set(map(str, value))) == 1 else value
    if value != found:
        raise _disagrees(stated, name, value, found)


def _check_ratio(stated: Section, default: float, arch: Architecture) -> None:
    """Check the width of the MLP, as the classes of transformers compute it from its ratio to the model's width."""
    ratio = default if "mlp_ratio" not in stated.values else stated.number("mlp_ratio", 0, _LARGEST_RATIO)
    width = int(arch.width * ratio)
    if stated.flag("use_swiglu_ffn", False):
        width = (int(width * 2 / 3) + 7) // 8 * 8
    if width != arch.mlp_width:
        raise _disagrees(stated, "mlp_ratio", ratio, f"an MLP of {arch.mlp_width} values at a width of {arch.width}")


def _disagrees(section: Section, name: str, stated: Any, shown: Any) -> InputError:
    path = f"{section.path}.{name}" if section.path else name
    return InputError(
        f"{section.source}: field {path} is {stated!r}, and the tensors show {shown!r}: copy both from one model"
    )
