"""Files that a user gives: checkpoints, profiles, tables, records, traces, text vectors."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from conftest import small_model
from peers import FAMILIES
from PIL import Image
from safetensors.torch import load, save

from fuzzing.mutation import (
    Mutate,
    join_parts,
    mutate_bytes,
    mutate_json,
    mutate_parts,
    mutate_safetensors,
    split_parts,
)
from fuzzing.scratch import FOLDER, as_file, written
from fuzzing.tables import table_targets
from fuzzing.target import Target
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.text.zeroshot import read_text_vectors
from janus_vit.sources.image_files import read_image

_CHECKPOINT_S = 0.5  # of a read, which also imports and builds
_TEXT_S = 0.1
_MOST_VALUES = 1 << 20


def _as_folder(folder: str, names: tuple[str, ...]) -> Callable[[bytes], None]:
    """Return a function that writes several files to a folder and loads the checkpoint there."""

    def run(data: bytes) -> None:
        for name in names:
            (FOLDER / folder / name).unlink(missing_ok=True)
        for name, part in zip(names, split_parts(data), strict=False):
            written(f"{folder}/{name}", part)
        _use(FOLDER / folder)

    return run


def _use(path: Path) -> None:
    """Load a model, and run a frame if it is a small one."""
    model = load_model(str(path))
    arch = model.network.architecture
    assert model.fingerprint
    if arch.tokens * arch.width * arch.depth < _MOST_VALUES and arch.image_size < 500:
        frame = np.zeros((9, 7, 3), np.uint8)
        clip = frame if arch.frames == 1 else np.stack([frame] * arch.frames)
        pixels = model.preprocessing.normalise(model.preprocessing.crop(clip))
        assert pixels.shape[1:] == model.shape.input_shape


def _folder_seed(family: str, names: tuple[str, ...]) -> bytes:
    folder = FOLDER / f"seed-{family}"
    folder.mkdir()
    FAMILIES[family](folder)
    return join_parts([(folder / name).read_bytes() if (folder / name).exists() else b"{}" for name in names])


def _checkpoints() -> list[Target]:
    model = small_model()
    metadata = checkpoint_metadata(model.network.architecture, model.preprocessing, model.labels, {})
    own = save({name: tensor.contiguous() for name, tensor in model.network.state_dict().items()}, metadata)
    hf_names = ("config.json", "preprocessor_config.json", "model.safetensors")
    timm_names, torch_names = ("config.json", "model.safetensors"), ("config.json", "pytorch_model.bin")
    timm_seed = _folder_seed("timm-vit", timm_names)
    hf_mutations: tuple[Mutate, ...] = (mutate_json, mutate_json, mutate_safetensors)
    return [
        Target("own checkpoint", as_file("own.safetensors", _use), (own,), mutate_safetensors, _CHECKPOINT_S),
        Target(
            "transformers checkpoint",
            _as_folder("hf", hf_names),
            (_folder_seed("hf-vit", hf_names), _folder_seed("hf-videomae", hf_names)),
            mutate_parts(*hf_mutations),
            _CHECKPOINT_S,
        ),
        Target(
            "timm checkpoint",
            _as_folder("timm", timm_names),
            (timm_seed,),
            mutate_parts(mutate_json, mutate_safetensors),
            _CHECKPOINT_S,
        ),
        Target(
            "PyTorch checkpoint",
            _as_folder("torch", torch_names),
            tuple(_pytorch_seed(timm_seed, as_archive) for as_archive in (True, False)),
            mutate_parts(mutate_json, mutate_bytes),
            _CHECKPOINT_S,
        ),
    ]


def _pytorch_seed(seed: bytes, as_archive: bool) -> bytes:
    """Return a checkpoint with the same config and tensors in a file of torch, of today or of old."""
    config, tensors = split_parts(seed)
    file = BytesIO()
    torch.save(load(tensors), file, _use_new_zipfile_serialization=as_archive)
    return join_parts([config, file.getvalue()])


def _arrays() -> list[Target]:
    found = []
    for save_arrays in (np.savez, np.savez_compressed):
        file = BytesIO()
        save_arrays(file, labels=np.array(["up", "down"]), vectors=np.eye(2, 4), scale=np.float64(50))
        found.append(file.getvalue())
    frame = np.zeros((16, 16, 3), np.uint8)
    return [
        Target(
            "text vectors",
            as_file("t.npz", lambda path: read_text_vectors(path, 4)),
            tuple(found),
            mutate_bytes,
            _TEXT_S,
        ),
        Target("image of a user", as_file("i.png", read_image), _image_files(frame), mutate_bytes, 5.0, 2 << 30),
    ]


def _image_files(frame: np.ndarray) -> tuple[bytes, ...]:
    found = []
    for container in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        file = BytesIO()
        Image.fromarray(frame).save(file, container)
        found.append(file.getvalue())
    return tuple(found)


def file_targets() -> list[Target]:
    """Every reader of files."""
    return [*_checkpoints(), *table_targets(), *_arrays()]
