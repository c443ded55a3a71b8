"""Reads a fleet from a JSON file. Every field is checked, and a field that is not known is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, TypeVar

from janus_vit.errors import InputError
from janus_vit.fleet.spec import DeviceKind, Fleet, FleetCloud
from janus_vit.links.generator import CONSTANT, SCENARIOS
from janus_vit.planning.accuracy.table import AccuracyTable, load_accuracy
from janus_vit.planning.jsonfile import Section, parse_json, read_json, shown
from janus_vit.planning.latency import PlatformProfile, load_profile
from janus_vit.planning.plan import MOST_BLOCKS, ModelShape
from janus_vit.reproduction.published import SHAPES, assumed_accuracy, cloud_costs, published_profile
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable, load_costs

SCHEMA = "janus-vit/fleet/1"
_TOP = {"schema", "about", "model", "accuracy", "cloud", "devices"}
_CLOUD = {"machine", "name", "profile", "costs", "entry_blocks", "max_batch_frames"}
_KIND = {"name", "machine", "profile", "slowdown", "share", "sla_s", "period_s", "rtt_s", "links"}
_MOST_KINDS, _MOST_LINKS, _MOST_FRAMES = 32, 32, 4_096  # kinds, links of a kind, frames of a batch
_TIMES_S, _SHARES = (1e-3, 3600.0), (1e-6, 1e6)  # smallest and largest
_MIXED = files("janus_vit") / "data" / "fleets" / "mixed.json"

Value = TypeVar("Value")


class KnownModel(NamedTuple):
    """What a fleet needs to know of its model: the shape, and the accuracy of its configurations if known."""

    shape: ModelShape
    accuracy: AccuracyTable | None


def published_model(name: str) -> KnownModel:
    """A model of the paper.

    Raises:
        InputError: the paper has no such model.
    """
    if name not in SHAPES:
        raise InputError(f"model {shown(name)} is unknown: use one of {', '.join(SHAPES)}")
    return KnownModel(SHAPES[name], assumed_accuracy(name))


def load_fleet(path: Path, find_model: Callable[[str], KnownModel] = published_model) -> Fleet:
    """Read a fleet from its file. Paths in it are relative to the file.

    Args:
        path: the file.
        find_model: finds the model that the file names.

    Raises:
        InputError: the file is damaged, or a field of it cannot be used; the message names both.
    """
    return _fleet(read_json(path, SCHEMA), path.parent, find_model)


def mixed_fleet() -> Fleet:
    """The built-in fleet: four kinds of devices on mobile and wireless links, with one V100."""
    return _fleet(parse_json(_MIXED.read_text("utf-8"), _MIXED.name, SCHEMA), Path(), published_model)


def published_cloud(machine: str, model: str, config: CloudConfig | None = None) -> FleetCloud:
    """A cloud of a machine whose times come with this package.

    Raises:
        InputError: there is no such machine, or no cost table of it.
    """
    return _made(machine, published_profile(machine, model), cloud_costs(machine, model), config or CloudConfig())


def _fleet(section: Section, folder: Path, find_model: Callable[[str], KnownModel]) -> Fleet:
    _refuse_unknown(section, _TOP)
    name = section.text("model")
    shape, accuracy = _in_field(section, "model", lambda: find_model(name))
    if "accuracy" in section.values:
        path = folder / section.text("accuracy")
        accuracy = _in_field(section, "accuracy", lambda: load_accuracy(path))
    if accuracy is None:
        raise section.wrong("accuracy", f"is missing, and no accuracy of {name} is known: name a table of it")
    listed = section.sections("devices")
    if not 1 <= len(listed) <= _MOST_KINDS:
        raise section.wrong("devices", f"must list from 1 to {_MOST_KINDS} kinds of devices")
    kinds = tuple(_kind(each, folder, name) for each in listed)
    names = [kind.name for kind in kinds]
    if len(set(names)) < len(names):
        raise section.wrong("devices", f"must have different names, not {shown(', '.join(names))}")
    return Fleet(shape, accuracy, _cloud(section.section("cloud"), folder, shape), kinds)


def _cloud(section: Section, folder: Path, shape: ModelShape) -> FleetCloud:
    _refuse_unknown(section, _CLOUD)
    config, model = _config(section, shape), shape.name
    if "machine" in section.values:
        machine = section.text("machine")
        return _in_field(section, "machine", lambda: published_cloud(machine, model, config))
    profile = _of_model(section, "profile", folder, load_profile, model)
    costs = _of_model(section, "costs", folder, load_costs, model)
    return _made(section.short_text("name"), profile, costs, config)


def _made(name: str, profile: PlatformProfile, costs: CostTable, config: CloudConfig) -> FleetCloud:
    """A cloud whose table holds single frames alone runs frames one by one, as the live one does."""
    return FleetCloud(name, profile, costs, config if costs.frames[-1] > 1 else config.one_by_one())


def _config(section: Section, shape: ModelShape) -> CloudConfig:
    config = CloudConfig()
    if "max_batch_frames" in section.values:
        config = replace(config, max_batch_frames=section.integer("max_batch_frames", 1, _MOST_FRAMES))
    if "entry_blocks" in section.values:
        blocks = section.array("entry_blocks")
        if len(blocks) > MOST_BLOCKS:
            raise section.wrong("entry_blocks", f"must list at most {MOST_BLOCKS} blocks")
        if not all(isinstance(block, int) and not isinstance(block, bool) for block in blocks):
            raise section.wrong("entry_blocks", f"must list whole numbers, not {shown(blocks)}")
        config = _in_field(section, "entry_blocks", lambda: replace(config, entry_blocks=tuple(blocks)))
        _in_field(section, "entry_blocks", lambda: config.entries(shape.blocks))
    return config


def _kind(section: Section, folder: Path, model: str) -> DeviceKind:
    _refuse_unknown(section, _KIND)
    if "machine" in section.values:
        machine = section.text("machine")
        profile = _in_field(section, "machine", lambda: published_profile(machine, model))
    else:
        profile = _of_model(section, "profile", folder, load_profile, model)
    if "slowdown" in section.values:
        profile = profile.slowed(section.number("slowdown", 1e-3, 1e6))
    links = section.array("links")
    if not 1 <= len(links) <= _MOST_LINKS or not all(isinstance(link, str) for link in links):
        raise section.wrong("links", f"must list names or files of links, from 1 to {_MOST_LINKS}")
    return DeviceKind(
        name=section.short_text("name"),
        share=section.number("share", *_SHARES) if "share" in section.values else 1.0,
        profile=profile,
        sla_s=section.number("sla_s", *_TIMES_S),
        period_s=section.number("period_s", *_TIMES_S),
        links=tuple(_link(link, folder) for link in links),
        rtt_s=section.number("rtt_s", 0.0, _TIMES_S[1]),
        source=f"{section.source}: field {section.path}",
    )


def _link(link: str, folder: Path) -> str:
    """Scenarios and rates as they are; files relative to the fleet's file."""
    return link if link in SCENARIOS or link.startswith(CONSTANT) else str(folder / link)


def _of_model(section: Section, key: str, folder: Path, load: Callable[[Path], Value], model: str) -> Value:
    """Load a file that was measured with the fleet's model."""
    path = folder / section.text(key)
    value = _in_field(section, key, lambda: load(path))
    assert isinstance(value, PlatformProfile | CostTable), "both name their model"
    if value.model != model:
        raise section.wrong(key, f"was measured with model {value.model!r}, and the fleet runs {model!r}")
    return value


def _refuse_unknown(section: Section, known: set[str]) -> None:
    for key in section.values:
        if key not in known:
            raise section.wrong(key, f"is unknown (known: {', '.join(sorted(known))})")


def _in_field(section: Section, key: str, make: Callable[[], Value]) -> Value:
    """Name the field in errors of what it stands for."""
    try:
        return make()
    except InputError as error:
        raise section.wrong(key, f"cannot be used ({error})") from error
