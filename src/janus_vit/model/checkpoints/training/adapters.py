"""Merge a LoRA adapter of the library peft into the weights of its base model (Hu et al., ICLR 2022).

W becomes W + scale * B A, where scale is alpha / rank, or alpha / sqrt(rank) with rank stabilisation (Kalajdzievski,
2023). The base model must be a folder on this machine. Other kinds of adapters are refused.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.names import common_names, is_unused, translator
from janus_vit.model.checkpoints.weights import Weights, find_weights, read_weights
from janus_vit.model.tensor_check import check_float
from janus_vit.planning.jsonfile import Section, read_json

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_ALL = slice(None)
_ROOT = "base_model.model."  # peft's two wrappers
# Fields that only training reads, or that the tensors show.
_HARMLESS = frozenset({
    "peft_type", "base_model_name_or_path", "r", "lora_alpha", "alpha_pattern", "rank_pattern", "use_rslora", "bias",
    "init_lora_weights", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "modules_to_save", "auto_mapping", "revision", "inference_mode", "task_type", "peft_version", "lora_dropout",
    "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "ensure_weight_tying",
    "qalora_group_size", "runtime_config",
})  # fmt: skip
# Initialisations that leave the base model's weights as they are. The others, such as PiSSA, change them.
_INITIALISATIONS = (True, False, "gaussian", "orthogonal", "eva", None)


@dataclass(frozen=True, slots=True)
class _Lora:
    """The settings of an adapter that change its answers.

    Attributes:
        rank: number of rows of A, unless `own_ranks`.
        alpha: numerator of the scale.
        alphas: end of a module's name -> its own alpha.
        own_ranks: whether modules have ranks of their own.
        stabilised: whether the scale is alpha / sqrt(rank).
    """

    rank: int
    alpha: float
    alphas: dict[str, float]
    own_ranks: bool
    stabilised: bool

    def scale(self, module: str, rank: int) -> float:
        """Return the factor of B A for a module."""
        own = (alpha for end, alpha in self.alphas.items() if module == end or module.endswith(f".{end}"))
        return next(own, self.alpha) / (math.sqrt(rank) if self.stabilised else rank)


def is_adapter(path: Path) -> bool:
    """Whether the path is a folder with an adapter of peft."""
    return os.path.lexists(path / ADAPTER_CONFIG)  # a link to nothing too, which is an error and not another model


def find_base(folder: Path) -> Path:
    """Return the weight file of the base model that an adapter's config names.

    Raises:
        InputError: it names none, or none on this machine, or another adapter.
    """
    config = read_json(folder / ADAPTER_CONFIG, None)
    name = config.values.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{config.source}: field base_model_name_or_path names no base model: write the path of its folder there"
        )
    base = next((path for path in (folder / name, Path(name)) if os.path.exists(path)), None)
    if base is None:
        raise InputError(
            f"{config.source}: field base_model_name_or_path is {name!r}, which is not a folder on this machine: copy "
            "the base model here and write the path of its folder there"
        )
    if is_adapter(base):
        raise InputError(f"{config.source}: the base model {name!r} is an adapter itself: merge that one first")
    return find_weights(base)


def read_merged(folder: Path, base_file: Path) -> tuple[Weights, bool]:
    """Read an adapter and its base model, and merge the first into the second.

    Args:
        folder: the adapter's folder.
        base_file: the base model's weight file.

    Returns:
        The weights under the base model's names, and whether the adapter has a classifier of its own.

    Raises:
        InputError: the adapter is of another kind, or does not fit the base model; the message names field or tensor.
    """
    lora = _read_settings(read_json(folder / ADAPTER_CONFIG, None))
    adapter = read_weights(_find_adapter_weights(folder))
    base = read_weights(base_file)
    if "janus" in base.metadata:
        raise InputError(f"{folder}: the base model {base_file} is not one of transformers or timm: use another base")
    tensors = dict(base.tensors)
    origin, translate = common_names(tensors), translator(tensors)
    pairs, whole = _sort_tensors(adapter)
    for module, (a, b) in pairs.items():
        name, rows = _find_target(translate(f"{module}.weight"), origin, tensors)
        merged = _merged(adapter.path, module, _base_weight(base_file, name, rows, tensors), a, b, lora)
        if rows == _ALL:
            tensors[name] = merged
        else:
            tensors[name] = tensors[name].float().clone()
            tensors[name][rows] = merged
    tensors |= {origin.get(translate(name), name): tensor for name, tensor in whole.items()}
    has_head = any(translate(name).startswith("head.") for name in whole)
    note = f"{folder}: merged the adapter of {len(pairs)} layers into {base_file}"
    return replace(base, path=adapter.path, tensors=tensors, notes=(*base.notes, *adapter.notes, note)), has_head


def _base_weight(path: Path, name: str, rows: slice, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Return rows of the base model's tensor in float32, None if an adapted module has no such tensor."""
    if not name:
        return None
    check_float(path, name, tensors[name])
    return tensors[name].float() if rows == _ALL else tensors[name].float()[rows]


def _find_target(common: str, origin: Mapping[str, str], tensors: Mapping[str, Tensor]) -> tuple[str, slice]:
    """Return the base model's tensor that a module adapts, and its rows; an empty name if there is none.

    transformers 5 splits the first layer of a SwiGLU, which files on the hub store as one.
    """
    if common in origin:
        return origin[common], _ALL
    start, _, part = common.partition(".mlp.")
    whole = origin.get(f"{start}.mlp.fc1.weight")
    if whole is None or part not in ("gate.weight", "up.weight") or tensors[whole].dim() == 0:
        return "", _ALL
    half = tensors[whole].shape[0] // 2
    return whole, slice(0, half) if part == "gate.weight" else slice(half, None)


def _find_adapter_weights(folder: Path) -> Path:
    for name in _WEIGHTS:
        if os.path.isfile(folder / name):
            return folder / name
    raise InputError(f"{folder}: has {ADAPTER_CONFIG} but no {_WEIGHTS[0]}: copy the whole folder")


def _read_settings(config: Section) -> _Lora:
    kind = config.values.get("peft_type")
    if kind != "LORA":
        raise InputError(f"{config.source}: field peft_type is {kind!r}: only 'LORA' is supported: {_MERGE_FIRST}")
    for field, value in config.values.items():
        if field not in _HARMLESS and value:
            raise InputError(f"{config.source}: field {field} is {value!r}, which is not supported: {_MERGE_FIRST}")
    how = config.values.get("init_lora_weights")
    if how not in _INITIALISATIONS:
        raise InputError(
            f"{config.source}: field init_lora_weights is {how!r}, which changes the base model: {_MERGE_FIRST}"
        )
    alphas = config.numbers("alpha_pattern") if config.values.get("alpha_pattern") else {}
    for pattern in alphas:
        if re.search(r"[^\w.]", pattern):
            raise InputError(
                f"{config.source}: field alpha_pattern has the expression {pattern!r}, and only names of modules are "
                f"supported: {_MERGE_FIRST}"
            )
    defaulted = replace(config, values={"r": 8, "lora_alpha": 8, **config.values})
    return _Lora(
        rank=defaulted.integer("r", 1),
        alpha=defaulted.number("lora_alpha"),
        alphas=alphas,
        own_ranks=bool(config.values.get("rank_pattern")),
        stabilised=config.flag("use_rslora", False),
    )


_MERGE_FIRST = "merge it with peft (merge_and_unload) and save the result"


def _sort_tensors(adapter: Weights) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """Return A and B of each module, and the tensors that replace or add whole ones, under the base model's names."""
    halves: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for name, tensor in adapter.tensors.items():
        if not name.startswith(_ROOT):
            raise InputError(f"{adapter.path}: tensor {name} does not begin with {_ROOT!r}: save the adapter with peft")
        own = name.removeprefix(_ROOT).replace(".modules_to_save", "").replace(".base_layer", "")
        if is_unused(own):
            continue
        module, _, part = own.rpartition(".lora_")
        if part in ("A.weight", "B.weight"):
            halves.setdefault(module, {})[part[0]] = tensor
        elif module or "lora_" in own:
            raise InputError(
                f"{adapter.path}: tensor {name} is not that of a linear layer, which alone is supported: {_MERGE_FIRST}"
            )
        else:
            whole[own] = tensor
    for module, found in halves.items():
        if len(found) < 2:
            raise InputError(f"{adapter.path}: module {module} has only one of lora_A and lora_B: copy the file again")
    if not halves:
        raise InputError(f"{adapter.path}: has no tensor of an adapter (lora_A, lora_B): copy the file again")
    return {module: (found["A"], found["B"]) for module, found in halves.items()}, whole


def _merged(path: Path, module: str, weight: Tensor | None, a: Tensor, b: Tensor, lora: _Lora) -> Tensor:
    """Return the merged weight [out, in] in float32."""
    if weight is None:
        raise InputError(f"{path}: module {module} is not a layer of the base model: use the adapter's own base model")
    for half, tensor in (("lora_A", a), ("lora_B", b)):
        check_float(path, f"{module}.{half}.weight", tensor)
    shapes: tuple[Any, ...] = tuple(tuple(each.shape) for each in (weight, a, b))
    if weight.dim() != 2 or a.dim() != 2 or b.dim() != 2 or (b.shape[0], a.shape[1]) != shapes[0]:
        raise InputError(
            f"{path}: module {module} has A {list(shapes[1])} and B {list(shapes[2])}, and the base model's weight is "
            f"{list(shapes[0])}: only linear layers of the adapter's own base model are supported"
        )
    rank = a.shape[0]
    if b.shape[1] != rank or not rank or (rank != lora.rank and not lora.own_ranks):
        raise InputError(
            f"{path}: module {module} has rank {rank}, and {ADAPTER_CONFIG} states {lora.rank}: copy both files again"
        )
    return weight + lora.scale(module, rank) * (b.float() @ a.float())
