"""Read a checkpoint of transformers with a dense head: its backbone as any other ViT, then the head beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.assemble import assemble, check_image_size, load_tensors, to_float32
from janus_vit.model.checkpoints.dense.dpt import depth_anything, dpt
from janus_vit.model.checkpoints.dense.eomt import eomt, eomt_dinov3
from janus_vit.model.checkpoints.dense.spec import DenseSpec, LateTokens, Size
from janus_vit.model.checkpoints.dense.tokens import vitpose, yolos
from janus_vit.model.checkpoints.files import OpenedCheckpoint
from janus_vit.model.checkpoints.heads import read_labels
from janus_vit.model.checkpoints.hugging_face.config import read_hugging_face_facts, read_sides
from janus_vit.model.checkpoints.hugging_face.stated import check_stated_fields
from janus_vit.model.checkpoints.processors import fit_preprocessing, read_hugging_face_preprocessing
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.tensor_check import check_finite, check_float
from janus_vit.model.vit import VisionTransformer
from janus_vit.planning.jsonfile import Section

# model_type of transformers -> how to take its checkpoints apart.
DENSE_FAMILIES: dict[str, Callable[[Section, Weights], DenseSpec]] = {
    "depth_anything": depth_anything,
    "dpt": dpt,
    "yolos": yolos,
    "vitpose": vitpose,
    "eomt": eomt,
    "eomt_dinov3": eomt_dinov3,
}


@dataclass(frozen=True)
class DenseCheckpoint:
    """A checkpoint with a dense head, in memory.

    Attributes:
        network: the backbone with its head.
        preprocessing: conversion of frames to pixels: the whole frame, at the model's height and width.
        labels: names of classes or key points.
        task: the model's task.
    """

    network: VisionTransformer
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    task: str


def is_dense(config: Section | None) -> bool:
    """Whether a config is that of a family with dense heads."""
    family = None if config is None else config.values.get("model_type")
    return isinstance(family, str) and family in DENSE_FAMILIES


def read_dense(opened: OpenedCheckpoint, image_size: Size | None, task: str | None) -> DenseCheckpoint:
    """Read a checkpoint of a family with dense heads.

    Args:
        opened: its files.
        image_size: run at this resolution instead of the checkpoint's own.
        task: what the user wants; None for the checkpoint's own task.

    Raises:
        InputError: it cannot be used; the message names the file or the field.
    """
    weights, config = opened.weights, opened.config
    assert config is not None
    spec = DENSE_FAMILIES[config.text("model_type")](config, weights)
    if task not in (None, spec.task):
        raise InputError(
            f"{weights.path}: the task of this model is {spec.task}: leave out --task {task}, or use another model"
        )
    preprocessing = _preprocessing(opened)
    size = _input_size(spec, preprocessing, image_size, weights)
    network = _backbone(spec, weights, size)
    _attach_head(network, spec, weights)
    arch = network.architecture
    whole_frame = replace(
        preprocessing,
        image_size=arch.image_size,
        image_width=arch.image_width,
        squash=True,
        square_only=spec.square_only,
        resize=None,
        resize_width=None,
    )
    labels = read_labels(config, spec.classes) if spec.classes else ()
    return DenseCheckpoint(network, fit_preprocessing(whole_frame, arch, weights.path), labels, spec.task)


def _preprocessing(opened: OpenedCheckpoint) -> Preprocessing:
    processor = opened.read_processor()
    return Preprocessing(0) if processor is None else read_hugging_face_preprocessing(processor, 1)


def _input_size(spec: DenseSpec, preprocessing: Preprocessing, image_size: Size | None, weights: Weights) -> Size:
    """The size that the user wants, that of the processor if it is exact, or that of the config."""
    stated = read_sides(spec.config, "image_size") if "image_size" in spec.config.values else None
    size = stated or preprocessing.size
    if image_size is not None:
        size = image_size
    elif preprocessing.squash and preprocessing.image_size:
        size = preprocessing.size
    if spec.fixed_size and size != stated:
        raise InputError(f"{weights.path}: this model runs only at its own size {stated}: leave out --image-size")
    return size


def _backbone(spec: DenseSpec, weights: Weights, size: Size) -> VisionTransformer:
    own = {
        name.removeprefix(spec.backbone): tensor for name, tensor in weights.tensors.items() if spec.is_backbone(name)
    }
    late_tokens = own.pop(spec.late.name, None) if spec.late else None
    tensors, config = spec.prepare(own, spec.config, size)
    inner = replace(weights, tensors=tensors)
    facts = read_hugging_face_facts(inner, config, with_head=False, classifies=False)
    network = assemble(inner, replace(facts, last_norm=spec.last_norm, pooling="class"), size)
    arch = network.architecture
    check_stated_fields(config, arch, inner)
    check_image_size(weights.path, arch)
    depth = spec.reads[-1]
    if not 1 <= depth <= arch.depth:
        raise InputError(f"{config.source}: the head reads block {depth} of {arch.depth}: correct its out_indices")
    network.blocks = network.blocks[:depth]  # what follows the last block that the head reads has no use
    network.architecture = replace(
        arch, depth=depth, taps=spec.reads[:-1], pooling=spec.pooling, stem_padding=spec.stem_padding
    )
    if spec.late:
        _add_late_tokens(network, spec.late, late_tokens, weights)
    return network


def _add_late_tokens(network: VisionTransformer, late: LateTokens, tensor: Tensor | None, weights: Weights) -> None:
    arch, found = network.architecture, "missing" if tensor is None else f"of the shape {list(tensor.shape)}"
    if tensor is None or tensor.shape != (late.count, arch.width):
        raise InputError(
            f"{weights.path}: tensor {late.name} is {found}, expected {[late.count, arch.width]}: copy it again"
        )
    check_float(weights.path, late.name, tensor)
    values = to_float32(tensor)
    check_finite(weights.path, late.name, values)
    network.late_tokens = nn.Parameter(values[None], requires_grad=False)
    network.architecture = replace(arch, late_tokens=late.count, late_block=late.block)


def _attach_head(network: VisionTransformer, spec: DenseSpec, weights: Weights) -> None:
    unused = re.compile(spec.unused)
    tensors = {
        name.removeprefix(spec.head): to_float32(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in weights.tensors.items()
        if not spec.is_backbone(name) and not unused.match(name)
    }
    with torch.device("meta"):
        head = spec.make_head(network.architecture)
    load_tensors(head, tensors, weights, {})
    network.dense_head = head.eval().requires_grad_(False)
