"""The paper's models and machines as data: shapes, and profiles that were fitted to its figures.

`scripts/fit_platforms.py` writes the files. The `about` of each lists the published numbers that it was fitted to, and
the error of the fit for each.
"""

from __future__ import annotations

from importlib.resources import files

from janus_vit.errors import InputError
from janus_vit.planning.accuracy.table import AccuracyTable, parse_accuracy
from janus_vit.planning.latency import PlatformProfile, parse_profile
from janus_vit.planning.plan import ModelShape

_DATA = files("janus_vit") / "data" / "platforms"

SHAPES = {
    shape.name: shape
    for shape in (
        ModelShape("vit-large-384", 24, 577, 1, 1024, (3, 384, 384)),  # the paper's image model
        ModelShape("st-mae-large", 24, 1569, 1, 1024, (3, 16, 224, 224)),  # its video model
        ModelShape("vit-base-224", 12, 197, 1, 768, (3, 224, 224)),
    )
}
MACHINES = {"orin-nano": "Jetson Orin Nano, the paper's device", "v100": "NVIDIA V100, the paper's cloud"}


def published_profile(machine: str, model: str) -> PlatformProfile:
    """Return the profile of a machine of the paper running one of its models.

    Args:
        machine: a key of `MACHINES`.
        model: a key of `SHAPES`.

    Raises:
        InputError: the paper has no such machine or model.
    """
    if machine not in MACHINES or model not in SHAPES:
        raise InputError(
            f"no published profile of {machine!r} running {model!r}: machines are {', '.join(MACHINES)}, models "
            f"{', '.join(SHAPES)}"
        )
    name = f"{machine}_{model}.json"
    return parse_profile((_DATA / name).read_text("utf-8"), name)


def assumed_accuracy(model: str) -> AccuracyTable | None:
    """Return the accuracy table of a model of the paper; None if nothing is known about the model.

    Its numbers are published or assumed, not measured; the table's `about` says which are which.
    """
    file = _DATA / f"{model}_accuracy.json"
    return parse_accuracy(file.read_text("utf-8"), file.name) if file.is_file() else None
