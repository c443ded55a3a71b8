"""Linear segmentation heads in a weight file of their own, as DINOv2 and mmsegmentation publish them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.assemble import load_tensors, to_float32
from janus_vit.model.checkpoints.weights import PYTORCH_SUFFIXES, find_weights, read_weights
from janus_vit.model.heads.simple import LinearSegmentHead
from janus_vit.model.vit import VisionTransformer
from janus_vit.planning.jsonfile import shown

_SUFFIXES = (".safetensors", *PYTORCH_SUFFIXES)
_CLASSIFIER = re.compile(r"^(?:decode_head\.)?(?:conv_seg|classifier)\.(weight|bias)$")
_NORM = re.compile(r"^(?:decode_head\.)?bn\.")
_MOST_CLASSES = 1 << 16


def is_weight_file(name: str) -> bool:
    """Whether a head is named as a weight file."""
    return name.endswith(_SUFFIXES)


def attach_linear_head(network: VisionTransformer, path: Path) -> int:
    """Give a network that returns its patch grid a linear segmentation head; return its number of classes.

    The head reads as many of the last blocks as its weights have inputs for, each after the last norm.

    Args:
        network: changed.
        path: weight file with `conv_seg` or `classifier` [classes, inputs, 1, 1], with or without batch norm `bn`.

    Raises:
        InputError: the file cannot be read, or its tensors do not fit the network.
    """
    arch = network.architecture
    weights = read_weights(find_weights(path))
    origin = {_common(name): name for name in weights.tensors}
    tensors = {name: weights.tensors[source] for name, source in origin.items()}
    weight = tensors.get("conv_seg.weight")
    if weight is None or weight.dim() not in (2, 4) or (weight.dim() == 4 and weight.shape[2:] != (1, 1)):
        raise InputError(
            f"{path}: has no tensor conv_seg.weight or classifier.weight of the shape [classes, inputs, 1, 1] (found "
            f"{shown(', '.join(sorted(weights.tensors)))}): use a linear segmentation head"
        )
    (classes, inputs), blocks = weight.shape[:2], weight.shape[1] // arch.width
    if inputs % arch.width or not 1 <= blocks <= arch.depth:
        raise InputError(
            f"{path}: the head reads {inputs} values of a patch, and this model has {arch.width} in each of "
            f"{arch.depth} blocks: use the head of this backbone"
        )
    if classes > _MOST_CLASSES:
        raise InputError(f"{path}: the head has {classes} classes: at most {_MOST_CLASSES} are supported")
    tensors["conv_seg.weight"] = weight.reshape(classes, inputs, 1, 1)
    with_norm = any(name.startswith("bn.") for name in tensors)
    if with_norm:
        tensors.setdefault("bn.num_batches_tracked", torch.tensor(0))
    with torch.device("meta"):
        head = LinearSegmentHead(inputs, classes, with_norm, arch.size)
    load_tensors(head, {name: _converted(tensor) for name, tensor in tensors.items()}, weights, origin)
    network.dense_head = head.eval().requires_grad_(False)
    network.architecture = replace(arch, taps=tuple(range(arch.depth - blocks + 1, arch.depth)))
    return classes


def _common(name: str) -> str:
    return _NORM.sub("bn.", _CLASSIFIER.sub(r"conv_seg.\1", name))


def _converted(tensor: Tensor) -> Tensor:
    return to_float32(tensor) if tensor.is_floating_point() else tensor
