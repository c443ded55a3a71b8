"""Read the architecture from a checkpoint's config, with `hugging_face.config` or `timm.config`."""

from __future__ import annotations

import re

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.assemble import ConfigFacts
from janus_vit.model.checkpoints.hugging_face.config import FAMILIES, read_hugging_face_facts
from janus_vit.model.checkpoints.hugging_face.stated import check_stated_fields
from janus_vit.model.checkpoints.names import is_hugging_face, is_timm
from janus_vit.model.checkpoints.timm.config import check_classes, check_timm_config, read_timm_facts
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.vit import Architecture
from janus_vit.planning.jsonfile import Section


def read_config_facts(weights: Weights, config: Section | None, with_head: bool) -> ConfigFacts:
    """Read the facts that only the config shows.

    Args:
        weights: the tensors of the checkpoint.
        config: the config.json beside them, with the field `architecture` for timm's; None if there is none.
        with_head: whether to keep a classifier's last layer.

    Raises:
        InputError: the family is not supported, or the config lacks a field.
    """
    names = weights.tensors
    if is_timm(names) and config is not None:
        check_timm_config(config)
        return read_timm_facts(weights, config, with_head)
    if not is_hugging_face(names):
        raise InputError(
            f"{weights.path}: its tensors are not those of a Vision Transformer of timm or transformers "
            f"(found {', '.join(sorted(names)[:3])}, ...): supported are {', '.join(FAMILIES)} and timm's vit and deit"
        )
    if config is None:
        raise InputError(f"{weights.path}: its config.json is missing: copy the whole folder")
    return read_hugging_face_facts(weights, config, with_head, with_head and not embeds(weights, config))


def check_config(weights: Weights, config: Section | None, architecture: Architecture, with_head: bool) -> None:
    """Check that a config and its tensors describe one architecture.

    Raises:
        InputError: they do not; the message names the field.
    """
    if config is None:
        return
    if not is_timm(weights.tensors):
        check_stated_fields(config, architecture, weights)
    elif with_head:
        check_classes(config, architecture)


def embeds(weights: Weights, config: Section | None) -> bool:
    """Whether the checkpoint is an embedding model, not a classifier."""
    if "classifier.weight" in weights.tensors:
        return False
    family = None if config is None else config.values.get("model_type")
    if isinstance(family, str) and family in FAMILIES and FAMILIES[family].projects:
        return True
    return not any(re.search(r"(^|\.)(head|classifier|cls_classifier)\.weight$", name) for name in weights.tensors)
