"""The paper's models and machines, and further clouds, as data: shapes, profiles and cost tables.

`scripts/fit_platforms.py` writes the profiles of the paper's machines, `scripts/derive_clouds.py` all other files. The
`about` of each says which numbers were published or measured, the error of the fit for each, and what is not known.
"""

from __future__ import annotations

from importlib.resources import files

from janus_vit.errors import InputError
from janus_vit.planning.accuracy.table import AccuracyTable, parse_accuracy
from janus_vit.planning.jsonfile import shown
from janus_vit.planning.latency import PlatformProfile, parse_profile
from janus_vit.planning.plan import ModelShape
from janus_vit.scheduling.costs import CostTable, parse_costs

_DATA = files("janus_vit") / "data" / "platforms"

SHAPES = {
    shape.name: shape
    for shape in (
        ModelShape("vit-large-384", 24, 577, 1, 1024, (3, 384, 384)),  # the paper's image model
        ModelShape("st-mae-large", 24, 1569, 1, 1024, (3, 16, 224, 224)),  # its video model
        ModelShape("vit-base-224", 12, 197, 1, 768, (3, 224, 224)),
    )
}
PAPER_MACHINES = {"orin-nano": "Jetson Orin Nano, the paper's device", "v100": "NVIDIA V100, the paper's cloud"}
MACHINES = {
    **PAPER_MACHINES,
    "t4": "NVIDIA T4, derived from the V100",
    "h100": "NVIDIA H100, measured with a former engine",
    "cpu": "one core of an AMD EPYC, measured in bfloat16",
}


def published_profile(machine: str, model: str) -> PlatformProfile:
    """Return the profile of a machine running a model.

    Args:
        machine: a key of `MACHINES`.
        model: a key of `SHAPES`.

    Raises:
        InputError: there is no such machine or model, or the machine was never profiled with the model.
    """
    name = f"{machine}_{model}.json"
    return parse_profile(_read(name, machine, model, "profile"), name)


def cloud_costs(machine: str, model: str) -> CostTable:
    """Return the seconds of batches on a machine running a model.

    Args:
        machine: a key of `MACHINES`, except the paper's device.
        model: a key of `SHAPES`.

    Raises:
        InputError: there is no such machine or model, or no cost table of the machine with the model.
    """
    name = f"{machine}_{model}_costs.json"
    return parse_costs(_read(name, machine, model, "cost table"), name)


def _read(name: str, machine: str, model: str, kind: str) -> str:
    missing = f"no published {kind} of {shown(machine)} running {shown(model)}"
    if machine not in MACHINES or model not in SHAPES:
        raise InputError(f"{missing}: machines are {', '.join(MACHINES)}, models {', '.join(SHAPES)}")
    file = _DATA / name
    if not file.is_file():
        ending = name.removeprefix(f"{machine}_{model}")
        known = [each for each in MACHINES if (_DATA / f"{each}_{model}{ending}").is_file()]
        raise InputError(f"{missing}: machines with one are {', '.join(known) or 'none'}")
    return file.read_text("utf-8")


def assumed_accuracy(model: str) -> AccuracyTable | None:
    """Return the accuracy table of a model of the paper; None if nothing is known about the model.

    Its numbers are published or assumed, not measured; the table's `about` says which are which.
    """
    file = _DATA / f"{model}_accuracy.json"
    return parse_accuracy(file.read_text("utf-8"), file.name) if file.is_file() else None
