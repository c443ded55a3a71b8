"""Weights on disk: janus-vit's own safetensors files. Unexpected tensors are listed by name in one error."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.jsonfile import Section, parse_json

METADATA_SCHEMA = "janus-vit/model/1"
_SAMPLED_VALUES = 4096  # of each tensor enter the fingerprint: two trainings differ everywhere


def read_checkpoint(path: Path) -> tuple[VisionTransformer, Preprocessing, tuple[str, ...]]:
    """Read a network (evaluation mode, float32), its preprocessing and its labels.

    Raises:
        InputError: no such file, not safetensors, metadata or tensors that do not fit.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: check the path") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}): copy it again") from error
    if "janus" not in metadata:
        raise InputError(f"{path}: metadata field janus is missing: this is not a checkpoint of janus-vit")
    section = parse_json(metadata["janus"], f"{path}: metadata", METADATA_SCHEMA)
    network = VisionTransformer(_architecture(section.section("architecture"), path)).eval()
    _check_tensors(network, tensors, path)
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False), _preprocessing(section), tuple(map(str, section.array("labels")))


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


def fingerprint(network: VisionTransformer, preprocessing: Preprocessing) -> str:
    """16 hexadecimal digits that are equal for equal architecture, weights and preprocessing."""
    digest = hashlib.sha256(repr((network.architecture, preprocessing)).encode())
    for name, tensor in sorted(network.state_dict().items()):
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, flat.numel() // _SAMPLED_VALUES)]
        digest.update(name.encode())
        digest.update(sample.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:16]


def _architecture(section: Section, path: Path) -> Architecture:
    known = {item.name for item in fields(Architecture)}
    if set(section.values) != known:
        odd = ", ".join(sorted(set(section.values) ^ known))
        raise InputError(f"{path}: metadata field architecture has missing or unknown keys ({odd})")
    return Architecture(**section.values)


def _preprocessing(section: Section) -> Preprocessing:
    inner = section.section("preprocessing")
    mean, std = (tuple(float(value) for value in inner.array(key)) for key in ("mean", "std"))
    return Preprocessing(
        inner.integer("image_size", 1),
        (mean[0], mean[1], mean[2]),
        (std[0], std[1], std[2]),
        inner.number("crop_fraction", 0),
    )


def _check_tensors(network: VisionTransformer, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    missing = sorted(wanted.keys() - found.keys())
    surplus = sorted(found.keys() - wanted.keys())
    misshaped = [
        f"{name} {found[name]} instead of {wanted[name]}"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]
    problems = [
        f"{what}: {', '.join(names)}"
        for what, names in (("missing", missing), ("surplus", surplus), ("mis-shaped", misshaped))
        if names
    ]
    if problems:
        raise InputError(f"{path}: tensors do not fit the architecture: {'; '.join(problems)}")
