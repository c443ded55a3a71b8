"""Find the name of a checkpoint's architecture: in its config.json, or as the user gives it.

The tensors of timm's models do not show everything that they compute. Rotary positions, for example, leave none.
"""

from __future__ import annotations

import difflib

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.names import is_timm
from janus_vit.model.checkpoints.timm.names import COMPARED_NAMES
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.planning.jsonfile import Section

OPTION = "--architecture"


def name_architecture(weights: Weights, config: Section | None, architecture: str | None) -> Section | None:
    """Return the config with the name of the architecture.

    Args:
        weights: the tensors of the checkpoint.
        config: its config.json, None if there is none.
        architecture: the name that the user gives, None if the config names it.

    Raises:
        InputError: nobody names it, the name is unknown, or the user and the config disagree.
    """
    if not is_timm(weights.tensors):
        if architecture is not None:
            raise InputError(
                f"{weights.path}: {OPTION} {architecture} is for weights under timm's names: leave it out, because "
                "this checkpoint says itself what it is"
            )
        return config
    stated = None if config is None else config.values.get("architecture")
    if architecture is None:
        if stated is None:
            raise InputError(
                f"{weights.path}: no config.json beside it names its architecture, and its tensors do not show "
                f"everything that timm computes: use {OPTION} NAME, such as vit_base_patch16_224 (all: docs/models.md)"
            )
        return config
    _check_known(architecture)
    if stated is not None and str(stated).partition(".")[0] != architecture.partition(".")[0]:
        source = "config.json" if config is None else config.source
        raise InputError(f"{source}: field architecture is {stated!r}: leave out {OPTION} {architecture}")
    values = {} if config is None else config.values
    return Section(str(weights.path) if config is None else config.source, "", {**values, "architecture": architecture})


def _check_known(architecture: str) -> None:
    name = architecture.partition(".")[0]  # timm allows NAME.TAG
    if name not in COMPARED_NAMES:
        nearest = difflib.get_close_matches(name, sorted(COMPARED_NAMES), 1, 0.0)[0]
        raise InputError(
            f"{OPTION} {architecture!r} is not supported: the nearest supported one is {nearest!r} (all: "
            "docs/models.md)"
        )
