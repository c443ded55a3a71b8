"""Which engine is fastest on this machine: a measurement of a few blocks, kept in the user's cache directory.

The file is a cache: one that is damaged, foreign or cannot be written costs the measurement again and nothing else.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from janus_vit.errors import InputError
from janus_vit.model.catalog import Model
from janus_vit.model.machine import hardware
from janus_vit.model.stage import Activation
from janus_vit.planning.jsonfile import read_json

if TYPE_CHECKING:
    from janus_vit.model.engines.base import Engine
    from janus_vit.model.engines.registry import EngineSpec

SCHEMA = "janus-vit/engines/1"
_BLOCKS = 2  # of the model, which all engines run in turn
_ROUNDS = 5
_LIMIT_S = 2.0
_NEAR = 1.5  # times the fastest, beyond which an engine is not timed again


def cache_file() -> Path:
    """Where choices are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # "~" stays where nobody has a home
    return Path(root) / "janus-vit" / "engines.json"


def fastest(model: Model, kinds: Sequence[EngineSpec]) -> str:
    """The name of the fastest of these engines on this machine, measured unless that is known already.

    Where it can run none of them, that of the first.
    """
    able = [kind for kind in kinds if kind.runs_here]
    if len(able) < 2:
        return (able or kinds)[0].name
    key, file = _key(model, able), cache_file()
    known = _read(file)
    chosen = known.get(key)
    if chosen not in {kind.name for kind in able}:
        times_s = block_seconds(model, able)
        chosen = min(times_s, key=times_s.__getitem__)
        _write(file, {**known, key: chosen})
    return chosen


def block_seconds(model: Model, kinds: Iterable[EngineSpec]) -> dict[str, float]:
    """Seconds that each engine takes for a block at all the model's tokens: the least of several, taken in turn."""
    shape, blocks = model.shape, min(_BLOCKS, model.shape.blocks)
    beginning = replace(model, network=model.network.beginning(blocks))
    engines = {kind.name: kind.load()(beginning) for kind in kinds}
    tokens = torch.randn(1, shape.tokens, shape.width, generator=torch.Generator().manual_seed(0))
    start = Activation(tokens, torch.ones(1, shape.tokens), 0, (0,) * blocks, beginning.fingerprint)
    least_s = {name: _seconds(engine, start) for name, engine in engines.items()}  # the first run warms up
    began_s = time.perf_counter()
    for attempt in range(_ROUNDS):
        if time.perf_counter() - began_s < _LIMIT_S:
            least_s |= {name: min(least_s[name], _seconds(engine, start)) for name, engine in engines.items()}
            if attempt:  # one disturbed run rules nobody out
                limit_s = _NEAR * min(least_s.values())
                engines = {name: engine for name, engine in engines.items() if least_s[name] < limit_s}
    return least_s


def _seconds(engine: Engine, start: Activation) -> float:
    began_s = time.perf_counter()
    engine.run(start, len(start.merges))
    return (time.perf_counter() - began_s) / len(start.merges)


def _key(model: Model, kinds: list[EngineSpec]) -> str:
    packages = sorted({kind.package for kind in kinds if kind.package})
    versions = ", ".join(f"{name} {version(name)}" for name in ("janus-vit", "torch", *packages))
    threads, names = torch.get_num_threads(), " or ".join(kind.name for kind in kinds)
    return f"{names}; {hardware()}; {threads} threads; {versions}; {model.network.architecture}"


def _read(file: Path) -> dict[str, str]:
    try:
        choices = read_json(file, SCHEMA).section("choices").values
    except InputError:  # not there yet, or damaged: measured again
        return {}
    return {key: name for key, name in choices.items() if isinstance(name, str)}


def _write(file: Path, choices: dict[str, str]) -> None:
    """In one step, since several processes may start at once; a cache that cannot be written is none."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"schema": SCHEMA, "choices": choices}, indent=1) + "\n", "utf-8")
        part.replace(file)
    except OSError:
        with suppress(OSError):
            part.unlink()
