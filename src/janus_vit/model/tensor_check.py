"""Check tensors that were read from a file, before anything is computed from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.model.memory import release_pages
from janus_vit.planning.jsonfile import shown

_MOST_VALUES = 1 << 40
_MOST_TENSORS = 1 << 14
# Floats that are no weights by themselves: packed values, and scales without a sign. Not every torch has them.
_PARTS_OF_FLOATS = {getattr(torch, name, None) for name in ("float4_e2m1fn_x2", "float8_e8m0fnu")}


def check_shape(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Check the shape that a file states for a tensor.

    Raises:
        InputError: it has no values, or more than any file holds.
    """
    if not 0 < math.prod(shape) <= _MOST_VALUES:
        raise InputError(f"{path}: tensor {shown(name)} has the impossible shape {shown(list(shape))}: copy it again")


def check_count(path: Path, count: int) -> None:
    """Check the number of tensors that a file states, each of which takes time.

    Raises:
        InputError: it is more than any model has.
    """
    if count > _MOST_TENSORS:
        raise InputError(
            f"{path}: holds {count} tensors, and at most {_MOST_TENSORS} are read: use the file of one model"
        )


def check_stored(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that all values of tensors are in memory or in the mapped file.

    Raises:
        InputError: a tensor is not dense, has no values, is a view that negates others, or repeats a few values to
            appear large.
    """
    for name, tensor in tensors.items():
        dense = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not dense or tensor.is_nested or tensor.is_neg():
            raise InputError(f"{path}: tensor {shown(name)} is not a plain tensor with values: save the state_dict()")
        check_shape(path, name, tuple(tensor.shape))
        if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
            raise InputError(f"{path}: tensor {shown(name)} has fewer values than its shape says: copy it again")


def check_float(path: Path, name: str, tensor: Tensor) -> None:
    """Check that a tensor holds floating-point numbers. What other numbers stand for, only their own program knows.

    Raises:
        InputError: it holds integers, truth values or complex numbers, or packed floats or scales.
    """
    if not tensor.is_floating_point() or tensor.dtype in _PARTS_OF_FLOATS:
        raise InputError(
            f"{path}: tensor {shown(name)} holds {tensor.dtype} and not floats: use a checkpoint that is not quantized"
        )


def check_whole_floats(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that no tensor holds packed floats or scales, which only models of more than plain floats have.

    Raises:
        InputError: one does.
    """
    for name, tensor in tensors.items():
        if tensor.dtype in _PARTS_OF_FLOATS:
            check_float(path, name, tensor)


def check_finite(path: Path, name: str, tensor: Tensor) -> None:
    """Check that all values of a float32 tensor are finite. Drops the pages of a mapped file from memory again.

    Raises:
        InputError: a value is infinite or not a number.
    """
    low, high = torch.aminmax(tensor.detach())  # NaN if any value is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{path}: tensor {shown(name)} holds a value that is not finite: copy it again")
    release_pages(tensor)


def block_numbers(names: Iterable[str]) -> set[str]:
    """Return the numbers of the blocks that tensors belong to."""
    return {name.split(".")[1] for name in names if name.startswith("blocks.")}


def check_parts(path: Path, parts: Mapping[str, Tensor], origin: Mapping[str, str]) -> None:
    """Check what must hold before the tensors of a checkpoint are joined. Their shapes are compared afterwards.

    Args:
        path: the checkpoint, for error messages.
        parts: tensors by their common names.
        origin: common name -> name in the checkpoint.

    Raises:
        InputError: a tensor has no dimensions, or belongs to a block that does not follow the others; or a bias is
            missing.
    """
    blocks = block_numbers(parts)
    odd = blocks - set(map(str, range(len(blocks))))
    for name, part in parts.items():
        if part.dim() == 0:
            raise InputError(
                f"{path}: its layers have a wrong shape: copy the file again ({shown(origin[name])} is a single number)"
            )
        if name.startswith("blocks.") and name.split(".")[1] in odd:
            raise InputError(
                f"{path}: tensor {shown(origin[name])} is of a block that does not follow the others: copy it again"
            )
    for block in blocks:
        biased = [f"blocks.{block}.{part}.bias" in parts for part in "qkv"]
        if biased not in ([True] * 3, [False] * 3, [True, False, True]):  # keys may have none, as in VideoMAE
            raise InputError(f"{path}: block {block} lacks biases that its other layers have: copy the file again")
    for layer in ("pool.in", "fc_norm"):
        if (f"{layer}.weight" in parts) != (f"{layer}.bias" in parts):
            raise InputError(f"{path}: has only one of {layer}.weight and {layer}.bias: copy the file again")
