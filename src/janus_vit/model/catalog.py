"""Models by name: the built-in one, and named architectures with random weights for measuring speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path

import torch

from janus_vit.errors import InputError
from janus_vit.model.checkpoints import fingerprint, read_checkpoint
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.accuracy import AccuracyTable, parse_accuracy
from janus_vit.planning.plan import ModelShape

BUILTIN = "janus-digits"


@dataclass(frozen=True)
class Model:
    """A network with all that is needed to use it.

    Attributes:
        name: as users write it. network: the weights, in evaluation mode.
        preprocessing: from frames to pixels. labels: one name a class.
        accuracy: measured accuracy of its configurations, None if nobody measured it.
    """

    name: str
    network: VisionTransformer
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    accuracy: AccuracyTable | None = None

    @cached_property
    def shape(self) -> ModelShape:
        """What planning has to know."""
        arch = self.network.architecture
        size = arch.image_size
        return ModelShape(self.name, arch.depth, arch.tokens, arch.protected, arch.width, (3, size, size))

    @cached_property
    def fingerprint(self) -> str:
        """Identity of architecture, weights and preprocessing; equal on both sides of a split."""
        return fingerprint(self.network, self.preprocessing)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalog."""

    name: str
    summary: str
    load: Callable[[], Model]


def load_model(name: str = BUILTIN) -> Model:
    """Load a model by its catalog name or from a checkpoint file.

    Args:
        name: a name that `janus-vit models` lists, or the path of a janus-vit `.safetensors` file.

    Raises:
        InputError: unknown name, or a file that cannot be used.
    """
    if name in CATALOG:
        return CATALOG[name].load()
    if name.endswith(".safetensors"):
        path = Path(name)
        return _from_checkpoint(path.stem, path)
    raise InputError(
        f"model {name!r} is unknown: use one of {', '.join(CATALOG)}, or the path of a .safetensors checkpoint"
    )


def _builtin() -> Model:
    data = files("janus_vit") / "data"
    accuracy = parse_accuracy((data / f"{BUILTIN}-accuracy.json").read_text("utf-8"), f"{BUILTIN}-accuracy.json")
    with as_file(data / f"{BUILTIN}.safetensors") as path:
        return replace(_from_checkpoint(BUILTIN, path), accuracy=accuracy)


def _from_checkpoint(name: str, path: Path) -> Model:
    network, preprocessing, labels = read_checkpoint(path)
    return Model(name, network, preprocessing, labels)


# name: width, depth, heads (Dosovitskiy et al. 2021; tiny and small from Touvron et al. 2021)
_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


def _random(name: str, size: str, image_size: int) -> Callable[[], Model]:
    def load() -> Model:
        width, depth, heads = _SIZES[size]
        arch = Architecture(image_size, 16, width, depth, heads, 4 * width, classes=1000)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # both sides of a split make the same weights
            network = VisionTransformer(arch).eval().requires_grad_(False)
        labels = tuple(f"class {index}" for index in range(arch.classes))
        return Model(name, network, Preprocessing(image_size), labels)

    return load


def _catalog() -> dict[str, Entry]:
    entries = [Entry(BUILTIN, "digit in a cluttered scene, trained, ships with the package", _builtin)]
    for size, (width, depth, _) in _SIZES.items():
        for image_size in (224, 384):
            name = f"vit-{size}-{image_size}"
            summary = f"ViT-{size}/16, {depth} blocks of width {width}, random weights: for measuring speed"
            entries.append(Entry(name, summary, _random(name, size, image_size)))
    return {entry.name: entry for entry in entries}


CATALOG: dict[str, Entry] = _catalog()
