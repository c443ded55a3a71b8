"""Options that several commands share, and how their texts are read. Imports no torch: --help is to be quick."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from janus_vit.errors import InputError
from janus_vit.model.engines.registry import AUTOS, ENGINES
from janus_vit.planning.policies.presets import POLICIES

DEFAULT_MODEL = "janus-digits"  # the catalog's BUILTIN, which cannot be asked without importing torch
DEFAULT_POLICY = "adaptive"
DEFAULT_SLOWDOWN, DEFAULT_SEED = 14.0, 24  # of live runs on one machine
_UNIT_S = {"ms": 1e-3, "s": 1.0}
_DURATION = re.compile(r"(-?\d+(?:\.\d*)?|-?\.\d+)\s*([a-z]*)", re.IGNORECASE)
_LONGEST_S = 3600.0

ModelName = Annotated[
    str, typer.Option("--model", metavar="NAME", help="A name that 'models' lists, or a .safetensors checkpoint.")
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help=f"What runs the model: {', '.join((*AUTOS, *ENGINES))}. auto, auto-bf16 and auto-int8 are this "
        "processor's fastest in float32, bfloat16 and int8, measured once.",
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="Processor threads to compute with; default all.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, everything else on stderr.")]
Sla = Annotated[str, typer.Option("--sla", metavar="TIME", help="Time allowed for each frame, such as 300ms or 2s.")]
PolicyName = Annotated[
    str,
    typer.Option("--policy", metavar="NAME", help=f"How plans are chosen: {', '.join(POLICIES)}, or FILE.py:CLASS."),
]
Seconds = Annotated[float, typer.Option("--seconds", metavar="S", help="How long each policy runs.")]
Slowdown = Annotated[
    float, typer.Option("--slowdown", metavar="K", help="The device is K times slower than this machine.")
]
ProfileSlowdown = Annotated[
    float, typer.Option("--slowdown", metavar="K", help="The device takes K times as long as its profile.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the generated link.")]
Rtt = Annotated[str, typer.Option("--rtt", metavar="TIME", help="Round trip, such as 20ms.")]
Private = Annotated[bool, typer.Option("--private", help="Keep pixels on this device: only tokens may be sent.")]
SourceSpec = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="SPEC",
        help="Frames: builtin, a folder of images, an image or video file, or camera:0.",
    ),
]
ProfileFile = Annotated[
    Path | None,
    typer.Option("--profile", metavar="FILE", help="This machine's profile; measured quickly at the start if absent."),
]
AccuracyFile = Annotated[
    Path | None,
    typer.Option("--accuracy", metavar="FILE", help="What 'calibrate' wrote; default: the model's own table, if any."),
]


def parse_duration(text: str, option: str, zero_allowed: bool = False) -> float:
    """A time such as "300ms", "0.3s" or "2s" in seconds.

    Args:
        option: what the user wrote it behind; named in errors.

    Raises:
        InputError: no such time, no unit, negative, zero where that is useless, or more than an hour.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or match[2].lower() not in ("", *_UNIT_S):
        raise InputError(f"{option} {text!r} is not a time: write one such as 300ms or 2s")
    number, unit = match[1], match[2].lower()
    if not unit:
        raise InputError(f"{option} {text!r} has no unit: write {number}ms or {number}s")
    seconds = float(number) * _UNIT_S[unit]
    if seconds < 0 or (seconds == 0 and not zero_allowed):
        raise InputError(f"{option} {text!r} must be {'at least' if zero_allowed else 'above'} zero: write 300ms or 2s")
    if seconds > _LONGEST_S:
        raise InputError(f"{option} {text!r} is more than an hour: write a shorter time")
    return seconds


def check_positive(value: float, option: str, example: str) -> float:
    """Require a finite number above zero; `example` is a value that can be used.

    Raises:
        InputError: it is not.
    """
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{option} {value:g} must be a number above zero: write one such as {example}")
    return value


def check_writable(path: Path) -> Path:
    """Require a path that a file can be written to, before the measurements that go into it.

    Raises:
        InputError: its folder does not exist, or it is a folder itself.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        why = "it is a folder" if path.is_dir() else "its folder does not exist"
        raise InputError(f"{path}: cannot be written ({why}): choose another path")
    return path


def check_folder(path: Path) -> Path:
    """A folder to write files to, made if it is not there.

    Raises:
        InputError: it cannot be made, or is a file.
    """
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: no folder that can be written to ({error.strerror}): choose another path") from error
    return path


def check_apart(page: Path, table: Path | None) -> None:
    """Require two places for two files.

    Raises:
        InputError: they are one.
    """
    if table is not None and table.resolve() == page.resolve():
        raise InputError(f"{page}: cannot be both the page and the table: give --csv another path")


def read_bytes(path: Path) -> bytes:
    """A small file, such as a certificate.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path") from error


def use_threads(threads: int | None) -> None:
    """Compute with so many threads from now on."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
