"""Checkpoints on disk: janus-vit's own safetensors files, and those of timm and of Hugging Face transformers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.assemble import assemble, check_size, fill, in_float32, interpolate_positions
from janus_vit.model.checkpoints.families import embeds, find_facts, find_labels
from janus_vit.model.checkpoints.metadata import parse_architecture, parse_preprocessing
from janus_vit.model.checkpoints.processors import at_size, of_hugging_face, of_timm
from janus_vit.model.checkpoints.weights import Weights, find_weights, read_weights
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.tasks import CLASSIFY, EMBED
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.jsonfile import Section, parse_json, read_json

METADATA_SCHEMA = "janus-vit/model/1"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: the network (evaluation mode, float32), and how to use it."""

    network: VisionTransformer
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    task: str


def read_checkpoint(path: Path, image_size: int | None = None, task: str | None = None) -> Checkpoint:
    """Read a file or a folder.

    Args:
        path: a weight file, or the folder of one with its config files.
        image_size: run at this resolution instead of the checkpoint's own.
        task: "embed" leaves out a classifier's last layer; the checkpoint's own task if None.

    Raises:
        InputError: no such file, an unsupported family, config or tensors that do not fit; all tensors are listed.
    """
    file = find_weights(path)
    weights = read_weights(file)
    if "janus" in weights.metadata:
        found = _own(weights, image_size)
        return _without_head(found) if task == EMBED and found.task == CLASSIFY else _as_asked(found, task, path)
    config = _beside(file, "config.json")
    own_task = EMBED if embeds(weights, config) else CLASSIFY
    with_head = not (task == EMBED and own_task == CLASSIFY)
    facts = find_facts(weights, config, with_head)
    preprocessing = _preprocessing(file, config, facts.frames)
    size = image_size or (preprocessing.image_size if preprocessing else None)
    network = assemble(weights, facts, size)
    arch = network.architecture
    preprocessing = at_size(preprocessing or Preprocessing(arch.image_size, frames=arch.frames), arch.image_size)
    if not with_head or own_task == EMBED:
        return _as_asked(Checkpoint(network, preprocessing, (), EMBED), task, path)
    return Checkpoint(network, preprocessing, find_labels(config, arch.classes), CLASSIFY)


def checkpoint_metadata(
    architecture: Architecture,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    about: dict[str, object],
) -> dict[str, str]:
    """The metadata that `read_checkpoint` needs, for `safetensors.torch.save_file`."""
    values = {
        "schema": METADATA_SCHEMA,
        "architecture": asdict(architecture),
        "preprocessing": asdict(preprocessing),
        "labels": labels,
        "about": about,
    }
    return {"janus": json.dumps(values)}


def _own(weights: Weights, image_size: int | None) -> Checkpoint:
    source = f"{weights.path}: metadata"
    section = parse_json(weights.metadata["janus"], source, METADATA_SCHEMA)
    trained = parse_architecture(section.section("architecture"))
    preprocessing = parse_preprocessing(section.section("preprocessing"))
    labels = tuple(map(str, section.array("labels")))
    if labels and len(labels) != trained.classes:
        raise section.wrong("labels", f"has {len(labels)} entries for {trained.classes} classes")
    architecture = replace(trained, image_size=image_size or trained.image_size)
    check_size(weights.path, architecture)
    tensors = {name: in_float32(tensor) for name, tensor in weights.tensors.items()}
    if "pos_embed" in tensors:
        tensors["pos_embed"] = interpolate_positions(tensors["pos_embed"], trained, architecture)
    network = fill(architecture, tensors, weights, {})
    return Checkpoint(network, at_size(preprocessing, architecture.image_size), labels, CLASSIFY if labels else EMBED)


def _preprocessing(file: Path, config: Section | None, frames: int) -> Preprocessing | None:
    """What the files beside the weights say, None if they say nothing."""
    if config is not None and "pretrained_cfg" in config.values:
        return of_timm(config.section("pretrained_cfg"))
    processor = _beside(file, "preprocessor_config.json") or _beside(file, "processor_config.json")
    return None if processor is None else of_hugging_face(processor, frames)


def _without_head(checkpoint: Checkpoint) -> Checkpoint:
    network = checkpoint.network
    network.architecture = replace(network.architecture, classes=0)
    network.head, network.head_dist = nn.Identity(), None
    return replace(checkpoint, labels=(), task=EMBED)


def _as_asked(checkpoint: Checkpoint, task: str | None, path: Path) -> Checkpoint:
    if task not in (None, checkpoint.task):
        raise InputError(f"{path}: this model was made to {checkpoint.task}: leave out --task {task}, or use another")
    return checkpoint


def _beside(file: Path, name: str) -> Section | None:
    path = file.parent / name
    return read_json(path, None) if path.is_file() else None
