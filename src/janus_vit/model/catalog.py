"""Models by name: the built-in one, and named architectures with random weights for measuring speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path

import torch

from janus_vit.errors import InputError
from janus_vit.input_files import real_path
from janus_vit.model.checkpoints.dense.linear import attach_linear_head, is_weight_file
from janus_vit.model.checkpoints.hub import HUBS, fetch
from janus_vit.model.checkpoints.reader import read_checkpoint
from janus_vit.model.fingerprint import fingerprint
from janus_vit.model.heads.own import OwnHead
from janus_vit.model.image_size import ImageSize
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.stage import Activation, Tap, unmerged_places
from janus_vit.model.stage import head as run_head
from janus_vit.model.tasks import CLASSIFY, FEATURES, OWN_HEAD, SEGMENT, TASKS
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.accuracy.table import AccuracyTable, parse_accuracy
from janus_vit.planning.plan import ModelShape

BUILTIN, BUILTIN_VIDEO = "janus-digits", "janus-motion"


_DATA = files("janus_vit") / "data"


@dataclass(frozen=True)
class Model:
    """A network with everything that is needed to use it.

    Attributes:
        name: the name that users write.
        network: the weights, in evaluation mode.
        preprocessing: from frames to pixels.
        labels: one name for each class, or for each number of a model that regresses; empty for an embedding model.
        accuracy: measured accuracy of its configurations, None if it was not measured.
        task: one of `TASKS` in `model.tasks`.
        notes: sentences about what was changed while its checkpoint was read.
    """

    name: str
    network: VisionTransformer
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    accuracy: AccuracyTable | None = None
    task: str = CLASSIFY
    notes: tuple[str, ...] = ()

    @cached_property
    def shape(self) -> ModelShape:
        """The numbers that planning needs."""
        arch = self.network.architecture
        return ModelShape(
            self.name,
            arch.depth,
            arch.tokens,
            arch.prefix,
            arch.width,
            arch.input_shape,
            arch.head_tokens,
            arch.reads_grid,
            arch.taps,
            arch.rotary is not None,
            arch.late_tokens,
            arch.late_block,
        )

    @cached_property
    def dense_shape(self) -> tuple[int, ...]:
        """Shape of the output of the dense head for one frame. Runs the head once."""
        arch = self.network.architecture
        places = unmerged_places(1, arch)
        tokens = torch.zeros(1, arch.head_tokens or arch.tokens + arch.late_tokens, arch.width)
        taps = tuple(Tap(torch.zeros(1, arch.tokens, arch.width), places) for _ in arch.taps if places is not None)
        done = Activation(tokens, torch.ones(tokens.shape[:2]), arch.depth, (), "", places, taps)
        with torch.inference_mode():
            return tuple(run_head(self.network, done).shape[1:])

    @cached_property
    def fingerprint(self) -> str:
        """Identity of architecture, weights, preprocessing and task; both sides of a split must agree."""
        return fingerprint(self.network, self.preprocessing, self.task)


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalog.

    Attributes:
        name: the name that users write.
        summary: one line for `janus-vit models`.
        load: makes the model.
    """

    name: str
    summary: str
    load: Callable[[], Model]


def load_model(
    name: str = BUILTIN,
    image_size: ImageSize | None = None,
    task: str | None = None,
    architecture: str | None = None,
    head: str | None = None,
) -> Model:
    """Load a model.

    Args:
        name: a name that `janus-vit models` lists; the file or folder of a checkpoint of janus-vit, timm or
            transformers; or `timm:NAME` or `hf:ORG/NAME` from the hub.
        image_size: run a checkpoint at this resolution instead of its own: one number, (height, width), or the
            `FrameSize` of a camera, for models whose processor keeps the aspect ratio.
        task: "classify", "multilabel", "regress" or "embed". "embed" removes a classifier's last layer; the others say
            what its outputs mean if the checkpoint does not. "features" gives the patch grid of any backbone. None
            keeps the model's own task.
        architecture: timm's name of the architecture, for a weight file of timm without a config.json.
        head: FILE.py:CLASS, a head of your own on the patch grid; see `model.heads.own`. Or the weight file of a linear
            segmentation head; see `model.checkpoints.dense.linear`.

    Raises:
        InputError: the name is unknown, or the checkpoint cannot be used.
    """
    if head is not None:
        return _with_own_head(name, image_size, task, architecture, head)
    if task is not None and task not in TASKS:
        raise InputError(f"task {task!r} is unknown: use {' or '.join(TASKS)}")
    if name in CATALOG and architecture is not None:
        raise InputError(f"model {name!r} is of the catalog: leave out --architecture {architecture}")
    if name in CATALOG and image_size is None and task in (None, CLASSIFY):
        return CATALOG[name].load()
    if name in (BUILTIN, BUILTIN_VIDEO):
        with as_file(_DATA / f"{name}.safetensors") as path:
            return _from_checkpoint(name, path, image_size, task)
    if name in CATALOG:
        raise InputError(f"model {name!r} has random weights and one size: choose another name of the catalog")
    path = fetch(name) if name.startswith(HUBS) else Path(name)
    if not (_exists(path) or path.suffix or len(path.parts) > 1):
        raise InputError(
            f"model {name!r} is unknown: use one of {', '.join(CATALOG)}, the path of a checkpoint's file or folder, "
            "timm:NAME or hf:ORG/NAME"
        )
    short_name = name if name.startswith(HUBS) else real_path(path).name.removesuffix(".safetensors")
    return _from_checkpoint(short_name, path, image_size, task, architecture)


def _with_own_head(
    name: str, image_size: ImageSize | None, task: str | None, architecture: str | None, head: str
) -> Model:
    if task not in (None, FEATURES):
        raise InputError(f"--head {head} replaces the head of the model: leave out --task {task}")
    model = load_model(name, image_size, FEATURES, architecture)
    if is_weight_file(head):
        classes = attach_linear_head(model.network, Path(head))
        return replace(model, task=SEGMENT, labels=tuple(f"class {index}" for index in range(classes)))
    arch = model.network.architecture
    model.network.dense_head = OwnHead(head, arch.width, arch.sides).requires_grad_(False)
    return replace(model, task=OWN_HEAD)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # the name is too long, or a folder is not accessible
        raise InputError(f"model {str(path)[:80]!r} cannot be found ({error.strerror}): check the path") from error


def _builtin(name: str) -> Callable[[], Model]:
    def load() -> Model:
        file = f"{name}-accuracy.json"
        try:
            accuracy = parse_accuracy((_DATA / file).read_text("utf-8"), file)
            with as_file(_DATA / f"{name}.safetensors") as path:
                return replace(_from_checkpoint(name, path), accuracy=accuracy)
        except OSError as error:
            raise InputError(f"{file} cannot be read from the package ({error}): install it again") from error

    return load


def _from_checkpoint(
    name: str,
    path: Path,
    image_size: ImageSize | None = None,
    task: str | None = None,
    architecture: str | None = None,
) -> Model:
    found = read_checkpoint(path, image_size, task, architecture)
    return Model(name, found.network, found.preprocessing, found.labels, task=found.task, notes=found.notes)


# Size -> width, depth, heads (Dosovitskiy et al. 2021; tiny and small from Touvron et al. 2021).
_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


def _random(name: str, size: str, image_size: int, video: bool = False) -> Callable[[], Model]:
    def load() -> Model:
        width, depth, heads = _SIZES[size]
        arch = Architecture(image_size, 16, width, depth, heads, 4 * width, classes=1000)
        if video:  # like VideoMAE (Tong et al., NeurIPS 2022)
            arch = replace(arch, frames=16, tubelet=2, classes=400, pooling="mean", prefix=0, pooled_norm=True)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # both sides of a split must make the same weights
            network = VisionTransformer(arch).eval().requires_grad_(False)
        labels = tuple(f"class {index}" for index in range(arch.classes))
        return Model(name, network, Preprocessing(image_size, frames=arch.frames), labels)

    return load


def _catalog() -> dict[str, Entry]:
    entries = [
        Entry(BUILTIN, "digit in a cluttered scene, trained, ships with the package", _builtin(BUILTIN)),
        Entry(BUILTIN_VIDEO, "how a digit moves in a clip, trained, ships with the package", _builtin(BUILTIN_VIDEO)),
    ]
    for size, (width, depth, _) in _SIZES.items():
        for image_size in (224, 384):
            name = f"vit-{size}-{image_size}"
            summary = f"ViT-{size}/16, {depth} blocks of width {width}, random weights: for measuring speed"
            entries.append(Entry(name, summary, _random(name, size, image_size)))
    name = "vit-large-video-224"
    summary = "ViT-large/16 on clips of 16 frames, random weights: for measuring speed"
    entries.append(Entry(name, summary, _random(name, "large", 224, video=True)))
    return {entry.name: entry for entry in entries}


CATALOG: dict[str, Entry] = _catalog()
