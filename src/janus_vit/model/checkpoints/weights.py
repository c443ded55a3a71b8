"""Read tensors from safetensors files, one or several, and from PyTorch files. Never runs code from a file."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.input_files import check_file, unreadable
from janus_vit.model.checkpoints.pickles import check_pickles
from janus_vit.model.checkpoints.training.wrappers import unwrap
from janus_vit.model.tensor_check import check_count, check_shape, check_stored, check_whole_floats
from janus_vit.planning.jsonfile import read_json, shown

PYTORCH_SUFFIXES = (".bin", ".pth", ".pt", ".ckpt")
_WHOLE = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_SHARDED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_NESTED = ("state_dict", "model", "model_state_dict", "model_ema")  # keys under which training scripts put the weights


@dataclass(frozen=True)
class Weights:
    """All tensors of a checkpoint.

    Attributes:
        path: the file, for error messages.
        tensors: tensors by name, in the file's own type. A safetensors file is mapped and read on first use.
        metadata: texts in the header of a safetensors file.
        notes: sentences about what was changed while reading.
    """

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


def find_weights(path: Path) -> Path:
    """Find the file with the weights, or their index, in a folder. A path to a file is returned as it is.

    Raises:
        InputError: the path does not exist, or the folder has no clear weight file.
    """
    if not os.path.exists(path):  # Path.exists raises for very long names
        raise InputError(f"{path}: no such file or folder: check the path")
    if not os.path.isdir(path):
        return check_file(path)
    for name in (*_WHOLE, *_SHARDED):
        if os.path.isfile(path / name):
            return path / name
    try:
        others = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", *PYTORCH_SUFFIXES))
    except OSError as error:
        raise unreadable(path, error) from error
    if len(others) == 1:
        return check_file(others[0])
    found = f"{len(others)} weight files and no index" if others else "no weight file"
    raise InputError(f"{path}: the folder holds {found}: it needs {' or '.join(_WHOLE)}, or name one file")


def read_weights(path: Path) -> Weights:
    """Read a file, or all files that an index names. Take off the prefixes of training frameworks.

    Raises:
        InputError: the file cannot be read, is damaged, or holds code.
    """
    found = _read(path)
    check_whole_floats(path, found.tensors)
    tensors, notes = unwrap(path, found.tensors)
    return replace(found, tensors=tensors, notes=notes)


def _read(path: Path) -> Weights:
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PYTORCH_SUFFIXES:
        return Weights(path, _read_pytorch(path), {})
    raise InputError(f"{path}: not the name of a weight file: use .safetensors or one of {', '.join(PYTORCH_SUFFIXES)}")


def _read_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            check_count(path, len(names))
            for name in names:
                check_shape(path, name, tuple(file.get_slice(name).get_shape()))
            return Weights(path, {name: file.get_tensor(name) for name in names}, file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}): copy it again") from error


def _read_pytorch(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=check_pickles(path))
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than weights, and code from a checkpoint is never run: save its state_dict()"
        ) from error
    except Exception as error:  # torch's readers raise many types on damaged files
        raise InputError(f"{path}: not a readable PyTorch file ({error}): copy it again") from error
    for key in _NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    items = list(found.items()) if isinstance(found, dict) else []
    if not items or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in items):
        raise InputError(f"{path}: holds no state_dict of tensors by name: save the model's state_dict()")
    tensors = dict(items)
    check_count(path, len(tensors))
    check_stored(path, tensors)
    return tensors


def _read_shards(path: Path) -> Weights:
    parts = read_json(path, None).section("weight_map")
    tensors: dict[str, Tensor] = {}
    for name in dict.fromkeys(map(parts.text, parts.values)):
        if Path(name).name != name or name.endswith(".index.json"):
            raise InputError(
                f"{path}: field weight_map names {shown(name)}, which is outside the folder: copy it again"
            )
        if not os.path.isfile(path.parent / name):
            raise InputError(f"{path}: its part {name} is missing: copy the whole folder")
        part = _read(path.parent / name).tensors
        if twice := sorted(part.keys() & tensors.keys()):
            raise InputError(f"{path}: several of its parts hold the tensor {shown(twice[0])}: copy the whole folder")
        tensors |= part
    return Weights(path, tensors, {})
