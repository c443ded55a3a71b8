"""Files that a user gives: checkpoints, profiles, tables, records, traces, text vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from conftest import small_model
from peers import FAMILIES
from PIL import Image
from safetensors.torch import load, save

from fuzzing.live import make_profile
from fuzzing.mutation import (
    Mutate,
    join_parts,
    mutate_bytes,
    mutate_json,
    mutate_parts,
    mutate_safetensors,
    split_parts,
)
from fuzzing.scratch import FOLDER
from fuzzing.target import Target
from janus_vit.links.trace_files import read_trace
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.zeroshot import read_text_vectors
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.accuracy.table import AccuracyTable, parse_accuracy
from janus_vit.planning.latency import parse_profile
from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction, Transfer
from janus_vit.planning.plan import Plan
from janus_vit.records.reader import read_records
from janus_vit.records.summary import summarise
from janus_vit.records.writer import to_record
from janus_vit.scheduling.costs import constant_costs, parse_costs
from janus_vit.sources.image_files import read_image

_CHECKPOINT_S = 0.5  # of a read, which also imports and builds
_TEXT_S = 0.1
_MOST_VALUES = 1 << 20


def _written(name: str, data: bytes) -> Path:
    path = FOLDER / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _as_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Return a function that writes data to a file and reads it."""

    def run(data: bytes) -> None:
        read(_written(name, data))

    return run


def _as_folder(folder: str, names: tuple[str, ...]) -> Callable[[bytes], None]:
    """Return a function that writes several files to a folder and loads the checkpoint there."""

    def run(data: bytes) -> None:
        for name in names:
            (FOLDER / folder / name).unlink(missing_ok=True)
        for name, part in zip(names, split_parts(data), strict=False):
            _written(f"{folder}/{name}", part)
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
        Target("own checkpoint", _as_file("own.safetensors", _use), (own,), mutate_safetensors, _CHECKPOINT_S),
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


def _points() -> tuple[Point, ...]:
    first = Point("none", 0.0, (0, 0, 0), 4, "local", 100, 100, 90)
    return (first, *(Point("exponential", 0.1 * n, (n, n, 0), 4, "local", 100, 90, 90 - n) for n in (1, 2, 3)))


def _use_accuracy(data: bytes) -> None:
    table = parse_accuracy(data.decode("utf-8", "replace"), "accuracy.json")
    assert 0 <= table.resolution <= 1
    for level in (0.0, 0.15, 0.3):
        table.of_plan(Plan("exponential", level, (1, 2, 0), 4, "local"))


def _outcome() -> Outcome:
    plan = Plan("exponential", 0.12, (4, 2, 1), split=2, payload="float8", rescue=(3,))
    predicted = Prediction(0.01, 1e-3, 0.02, 0.0, 1e-3, 4e-3, 0.03, 512.0, 8.0, 0.05, 0.97, 0.95, 0.04)
    measured = Measured(device_s=0.011, send_s=0.01, rtt_s=0.012, total_s=0.05)
    transfers = (Transfer(12.53, 512, 0.01, 0.012), Transfer(12.55, 512, 0.5, None))
    return Outcome(3, 12.5, 0.1, plan, predicted, measured, 512, Answer((3, 1), (0.7, 0.2)), None, transfers)


def _use_records(path: Path) -> None:
    recording = read_records(path)
    summary = summarise(recording.outcomes, recording.truths)
    assert summary is not None
    for record in recording.records:
        json.dumps(to_record(record.outcome, (), record.name, record.truth), allow_nan=False).encode()


def _tables() -> list[Target]:
    table = AccuracyTable("small", "abc", "eager", "right", _points(), {"command": "fuzz"})
    record = json.dumps(to_record(_outcome(), ("a", "b", "c", "d"), "frame", 3)).encode()
    costs = constant_costs(1e-3, 1e-3, 6)
    return [
        Target(
            "profile",
            lambda data: parse_profile(data.decode("utf-8", "replace"), "profile.json"),
            (make_profile().to_json().encode(),),
            mutate_json,
            _TEXT_S,
        ),
        Target("accuracy table", _use_accuracy, (table.to_json().encode(),), mutate_json, _TEXT_S),
        Target(
            "cost table",
            lambda data: parse_costs(data.decode("utf-8", "replace"), "costs.json"),
            (costs.to_json().encode(),),
            mutate_json,
            _TEXT_S,
        ),
        Target("records", _as_file("records.jsonl", _use_records), (record,), mutate_json, _TEXT_S),
        Target(
            "trace",
            _as_file("trace.csv", read_trace),
            (b"# trace: t\n# interval_s: 0.1\ntime_s,mbps\n0,10\n0.1,12.5\n0.2,0\n", b"0\n3\n7\n20\n150\n"),
            mutate_bytes,
            _TEXT_S,
        ),
    ]


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
            _as_file("t.npz", lambda path: read_text_vectors(path, 4)),
            tuple(found),
            mutate_bytes,
            _TEXT_S,
        ),
        Target("image of a user", _as_file("i.png", read_image), _image_files(frame), mutate_bytes, 1.0),
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
    return [*_checkpoints(), *_tables(), *_arrays()]
