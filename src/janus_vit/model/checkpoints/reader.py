"""Read a checkpoint from disk: janus-vit's own, timm's, or one of Hugging Face transformers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.assemble import (
    assemble,
    build_network,
    check_image_size,
    to_float32,
)
from janus_vit.model.checkpoints.dense.reader import is_dense, read_dense
from janus_vit.model.checkpoints.families import check_config, embeds, read_config_facts
from janus_vit.model.checkpoints.files import OpenedCheckpoint, open_checkpoint
from janus_vit.model.checkpoints.heads import head_task, read_labels
from janus_vit.model.checkpoints.metadata import parse_architecture, parse_preprocessing
from janus_vit.model.checkpoints.positions.learned import interpolate_positions, with_size
from janus_vit.model.checkpoints.processors import (
    fit_preprocessing,
    read_hugging_face_preprocessing,
    read_timm_preprocessing,
    size_for_frames,
)
from janus_vit.model.heads.attach import UNNORMED_FEATURES, as_feature_model
from janus_vit.model.image_size import FrameSize, ImageSize
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.tasks import EMBED, FEATURES
from janus_vit.model.tensor_check import block_numbers, check_float
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.jsonfile import parse_json, printable

METADATA_SCHEMA = "janus-vit/model/1"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        network: the network in evaluation mode, float32.
        preprocessing: conversion of frames to pixels.
        labels: one name for each class, or for each number of a model that regresses; empty for an embedding model.
        task: one of `TASKS`.
        notes: sentences about what was changed while reading.
    """

    network: VisionTransformer
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    task: str
    notes: tuple[str, ...] = ()


def read_checkpoint(
    path: Path, image_size: ImageSize | None = None, task: str | None = None, architecture: str | None = None
) -> Checkpoint:
    """Read a checkpoint from a file or a folder.

    Args:
        path: a weight file, or a folder with a weight file and its config files.
        image_size: run at this resolution instead of the checkpoint's own: one number, height and width, or the size
            that its processor gives to frames of one size.
        task: "embed" removes a classifier's last layer; another task says what the outputs mean if the config does not.
            None keeps the checkpoint's own task.
        architecture: timm's name of the architecture, for weights without a config.json.

    Raises:
        InputError: the file is missing, its family is not supported, or config and tensors do not fit together.
    """
    opened = open_checkpoint(path, architecture)
    read = _read_own if "janus" in opened.weights.metadata else _read_foreign
    return replace(read(opened, image_size, task), notes=opened.notes)


def _sides(opened: OpenedCheckpoint, image_size: ImageSize | None) -> tuple[int, int] | None:
    if isinstance(image_size, FrameSize):
        return size_for_frames(opened.read_processor(), image_size)
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def _read_foreign(opened: OpenedCheckpoint, image_size: ImageSize | None, task: str | None) -> Checkpoint:
    weights, config, wanted = opened.weights, opened.config, _sides(opened, image_size)
    if is_dense(config):
        dense = read_dense(opened, wanted, task)
        return Checkpoint(dense.network, dense.preprocessing, dense.labels, dense.task)
    has_classifier = not embeds(weights, config)
    with_head = not (task in (EMBED, FEATURES) and has_classifier)
    facts = read_config_facts(weights, config, with_head)
    preprocessing = _preprocessing(opened, facts.frames)
    size = preprocessing.size if preprocessing else None
    network = assemble(weights, facts, wanted or size)
    arch = network.architecture
    check_config(weights, config, arch, with_head)
    if wanted is not None:
        check_image_size(weights.path, arch)
    elif facts.rotary is not None and facts.rotary.of_clips and facts.image_size != arch.size:
        raise InputError(
            f"{weights.path}: field crop_size of its config.json gives positions for {facts.image_size}, and its "
            f"processor makes images of {arch.size}: make both equal, or choose with --image-size"
        )
    fitted = fit_preprocessing(preprocessing or Preprocessing(arch.image_size, frames=arch.frames), arch, weights.path)
    if task == FEATURES:
        normed = config is None or config.values.get("model_type") not in UNNORMED_FEATURES
        return Checkpoint(as_feature_model(network, normed), fitted, (), FEATURES)
    if not with_head or not has_classifier:
        return _checked_embedding(Checkpoint(network, fitted, (), EMBED), task, weights.path)
    task = head_task(weights.path, config, arch.classes, task)
    return Checkpoint(network, fitted, read_labels(config, arch.classes), task)


def checkpoint_metadata(
    architecture: Architecture,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    about: dict[str, object],
) -> dict[str, str]:
    """Return the metadata that `read_checkpoint` needs, for `safetensors.torch.save_file`.

    Args:
        architecture: architecture of the network.
        preprocessing: conversion of frames to pixels.
        labels: one name for each class; empty for an embedding model.
        about: anything else to note, such as how the network was trained.
    """
    values = {
        "schema": METADATA_SCHEMA,
        "architecture": asdict(architecture),
        "preprocessing": asdict(preprocessing),
        "labels": labels,
        "about": about,
    }
    return {"janus": json.dumps(values)}


def _read_own(opened: OpenedCheckpoint, image_size: ImageSize | None, task: str | None) -> Checkpoint:
    weights = opened.weights
    source = f"{weights.path}: metadata"
    section = parse_json(weights.metadata["janus"], source, METADATA_SCHEMA)
    trained = parse_architecture(section.section("architecture"))
    if trained.is_dense:
        raise section.wrong(
            "architecture.pooling", f"is {trained.pooling!r}, that of a dense head, and the file has none"
        )
    preprocessing = parse_preprocessing(section.section("preprocessing"))
    if preprocessing.frames != trained.frames:
        raise section.wrong("preprocessing.frames", f"is {preprocessing.frames}, and the model takes {trained.frames}")
    labels = tuple(printable(str(label)) for label in section.array("labels"))
    if labels and len(labels) != trained.classes:
        raise section.wrong("labels", f"has {len(labels)} entries for {trained.classes} classes")
    wanted = _sides(opened, image_size)
    architecture = trained if wanted is None else with_size(trained, wanted)
    check_image_size(weights.path, architecture)
    if trained.rotary and architecture.grid != trained.grid:
        raise InputError(
            f"{weights.path}: its rotary positions are those of {trained.size[0]} x {trained.size[1]} pixels: leave "
            "out --image-size"
        )
    blocks = block_numbers(weights.tensors)
    if trained.depth != len(blocks):
        raise section.wrong("architecture.depth", f"is {trained.depth}, and the file has {len(blocks)} blocks")
    for name, tensor in weights.tensors.items():
        check_float(weights.path, name, tensor)
    tensors = {name: to_float32(tensor) for name, tensor in weights.tensors.items()}
    if "pos_embed" in tensors:
        if tensors["pos_embed"].numel() != trained.patches * trained.width:
            raise section.wrong("architecture.image_size", "does not fit the tensor pos_embed")
        tensors["pos_embed"] = interpolate_positions(tensors["pos_embed"], trained, architecture)
    network = build_network(architecture, tensors, weights, {})
    found = Checkpoint(network, fit_preprocessing(preprocessing, architecture, weights.path), labels, EMBED)
    if task == FEATURES:
        return replace(found, network=as_feature_model(network), labels=(), task=FEATURES)
    if not labels:
        return _checked_embedding(found, task, weights.path)
    if task == EMBED:
        return _without_head(found)
    return replace(found, task=head_task(weights.path, None, len(labels), task))


def _preprocessing(opened: OpenedCheckpoint, frames: int) -> Preprocessing | None:
    """Read the preprocessing from the files beside the weights, None if there are none."""
    config = opened.config
    if config is not None and "pretrained_cfg" in config.values:
        return read_timm_preprocessing(config.section("pretrained_cfg"))
    processor = opened.read_processor()
    return None if processor is None else read_hugging_face_preprocessing(processor, frames)


def _without_head(checkpoint: Checkpoint) -> Checkpoint:
    network = checkpoint.network
    network.architecture = replace(network.architecture, classes=0)
    network.head, network.head_dist = nn.Identity(), None
    return replace(checkpoint, labels=())


def _checked_embedding(checkpoint: Checkpoint, task: str | None, path: Path) -> Checkpoint:
    if task not in (None, EMBED):
        raise InputError(f"{path}: this model can only embed: leave out --task {task}, or use another model")
    return checkpoint
