"""What every benchmark shares: timing a call, and the JSON line at its end."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from janus_vit.model.machine import hardware


def timed_ms(action: Callable[[], object], rounds: int, warm_up: int) -> list[float]:
    """Durations of single calls in ms, after some that do not count."""
    for _ in range(warm_up):
        action()
    durations = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        action()
        durations.append(1e3 * (time.perf_counter() - began_s))
    return durations


def median_p99(durations_ms: list[float]) -> tuple[float, float]:
    """Median and 99th percentile in ms."""
    return round(float(np.median(durations_ms)), 5), round(float(np.percentile(durations_ms, 99)), 5)


def print_json(benchmark: str, warm_up: int, rows: Mapping[str, object] | list[dict[str, object]]) -> None:
    """The closing line: what was measured, where and with what."""
    packages = ("janus-vit", "torch", "numpy", "pillow", "grpcio", "protobuf", "zstandard")
    line = {
        "benchmark": benchmark,
        "hardware": hardware(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "warm_up": warm_up,
        "rows": rows,
    }
    print(json.dumps(known_of(line), allow_nan=False))


def known_of(value: Any) -> Any:
    """The same with null where a number is none or infinite, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: known_of(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [known_of(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def commit() -> str | None:
    """The checked-out commit, None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
