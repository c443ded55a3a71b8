"""Shared by all benchmarks: timing calls, measuring in fresh processes, and the JSON line at the end."""

from __future__ import annotations

import json
import math
import multiprocessing
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from janus_vit.model.engines.machine import hardware


def timed_ms(action: Callable[[], object], rounds: int, warm_up: int) -> list[float]:
    """Call `action` several times; return the duration of each call in ms.

    Args:
        action: what to time.
        rounds: number of timed calls.
        warm_up: number of calls before them.
    """
    for _ in range(warm_up):
        action()
    durations = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        action()
        durations.append(1e3 * (time.perf_counter() - began_s))
    return durations


def median_p99(durations_ms: list[float]) -> tuple[float, float]:
    """Return median and 99th percentile, rounded."""
    return round(float(np.median(durations_ms)), 5), round(float(np.percentile(durations_ms, 99)), 5)


def run_in_process(measure: Callable[..., None], *arguments: object) -> Any:
    """Call `measure(pipe, *arguments)` in a fresh process; return what it sends over the pipe."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=measure, args=(theirs, *arguments))
    process.start()
    theirs.close()  # otherwise recv would wait forever if the process dies
    result = ours.recv()
    process.join()
    return result


def resident_bytes(field: str) -> int:
    """Return the memory of this process on Linux: VmRSS is the present size, VmHWM the largest so far."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def print_json(benchmark: str, warm_up: int, rows: Mapping[str, object] | list[dict[str, object]]) -> None:
    """Print the result as one JSON line, with hardware, commit and versions.

    Args:
        benchmark: name of the benchmark.
        warm_up: rounds before the measured ones.
        rows: the measurements.
    """
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
    print(json.dumps(without_nan(line), allow_nan=False))


def without_nan(value: Any) -> Any:
    """Replace NaN and infinite numbers by None, because JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def commit() -> str | None:
    """Return the checked-out commit; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
