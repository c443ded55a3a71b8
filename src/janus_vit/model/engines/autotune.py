"""Find the fastest engine on this machine: time a few blocks and keep the result in the user's cache directory.

If the file is damaged or cannot be written, the engines are measured again.
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
from janus_vit.model.engines.machine import hardware
from janus_vit.model.stage import Activation, made_up
from janus_vit.planning.jsonfile import read_json

if TYPE_CHECKING:
    from janus_vit.model.engines.base import Engine
    from janus_vit.model.engines.registry import EngineSpec

SCHEMA = "janus-vit/engines/1"
_BLOCKS = 2  # blocks of the model that each engine runs
_ROUNDS = 5
_LIMIT_S = 2.0  # no round starts later than this
_NEAR = 1.5  # an engine slower than this multiple of the fastest is not timed again


def cache_file() -> Path:
    """Return the path of the file with the measured choices."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # "~" stays without a home directory
    return Path(root) / "janus-vit" / "engines.json"


def fastest(model: Model, specs: Sequence[EngineSpec]) -> str:
    """Return the name of the fastest of these engines on this machine; measure it unless the cache knows it.

    Returns the first name if this machine can run none of them.
    """
    runnable = [spec for spec in specs if spec.runs_here]
    if len(runnable) < 2:
        return (runnable or specs)[0].name
    key, file = _key(model, runnable), cache_file()
    known = _read(file)
    chosen = known.get(key)
    if chosen not in {spec.name for spec in runnable}:
        times_s = block_seconds(model, runnable)
        chosen = min(times_s, key=times_s.__getitem__)
        _write(file, {**known, key: chosen})
    return chosen


def block_seconds(model: Model, specs: Iterable[EngineSpec]) -> dict[str, float]:
    """Return the seconds that each engine takes for one unmerged block: the least of several runs, taken in turns."""
    shape, blocks = model.shape, min(_BLOCKS, model.shape.blocks)
    beginning = replace(model, network=model.network.first_blocks(blocks))
    engines = {spec.name: spec.load()(beginning) for spec in specs}
    tokens = torch.randn(1, shape.tokens, shape.width, generator=torch.Generator().manual_seed(0))
    sizes, arch = torch.ones(1, shape.tokens), beginning.network.architecture
    start = made_up(arch, tokens, sizes, 0, (0,) * blocks, beginning.fingerprint)
    least_s = {name: _seconds(engine, start) for name, engine in engines.items()}  # the first run warms up
    began_s = time.perf_counter()
    for attempt in range(_ROUNDS):
        if time.perf_counter() - began_s < _LIMIT_S:
            least_s |= {name: min(least_s[name], _seconds(engine, start)) for name, engine in engines.items()}
            if attempt:  # one disturbed run must not exclude an engine
                limit_s = _NEAR * min(least_s.values())
                engines = {name: engine for name, engine in engines.items() if least_s[name] < limit_s}
    return least_s


def _seconds(engine: Engine, start: Activation) -> float:
    began_s = time.perf_counter()
    engine.run(start, len(start.merges))
    return (time.perf_counter() - began_s) / len(start.merges)


def _key(model: Model, specs: list[EngineSpec]) -> str:
    packages = sorted({spec.package for spec in specs if spec.package})
    versions = ", ".join(f"{name} {version(name)}" for name in ("janus-vit", "torch", *packages))
    threads, names = torch.get_num_threads(), " or ".join(spec.name for spec in specs)
    gpu = "" if all(spec.on_cpu for spec in specs) else f"{torch.cuda.get_device_name()}; "
    return f"{names}; {hardware()}; {gpu}{threads} threads; {versions}; {model.network.architecture}"


def _read(file: Path) -> dict[str, str]:
    try:
        choices = read_json(file, SCHEMA).section("choices").values
    except InputError:  # missing or damaged: measure again
        return {}
    return {key: name for key, name in choices.items() if isinstance(name, str)}


def _write(file: Path, choices: dict[str, str]) -> None:
    """Replace the file in one step, because several processes may write it. Ignore a file that cannot be written."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"schema": SCHEMA, "choices": choices}, indent=1) + "\n", "utf-8")
        part.replace(file)
    except OSError:
        with suppress(OSError):
            part.unlink()
