"""Options that several commands share, and the checks of their values. Imports no torch, to keep --help fast."""

from __future__ import annotations

import errno
import math
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from janus_vit.errors import InputError
from janus_vit.input_files import real_path
from janus_vit.model.engines.registry import AUTOS, ENGINES
from janus_vit.planning.jsonfile import shown
from janus_vit.planning.policies.presets import POLICIES, check_late_target

DEFAULT_MODEL = "janus-digits"  # equals catalog.BUILTIN, which imports torch
DEFAULT_POLICY = "adaptive-fleet"
DEFAULT_SLOWDOWN, DEFAULT_SEED = 14.0, 24  # for live runs on one machine
_UNIT_S = {"ms": 1e-3, "s": 1.0}
_SHARE = re.compile(r"([0-9]*\.?[0-9]+)\s*(%?)")
_DURATION = re.compile(r"(-?\d+(?:\.\d*)?|-?\.\d+)\s*([a-z]*)", re.IGNORECASE)
_SHORTEST_S, _LONGEST_S = 1e-4, 3600.0

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="A name that 'janus-vit models' lists, the file or folder of a checkpoint, timm:NAME or hf:ORG/NAME.",
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help=f"Engine that runs the model: {', '.join((*AUTOS, *ENGINES))}. auto, auto-bf16 and auto-int8 measure once "
        "which engine is the fastest here in float32, bfloat16 and int8.",
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="Number of CPU threads. Default: all.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and everything else on stderr.")]
Sla = Annotated[str, typer.Option("--sla", metavar="TIME", help="Latency budget of a frame, such as 300ms or 2s.")]
PolicyName = Annotated[
    str,
    typer.Option(
        "--policy",
        metavar="NAME",
        help=f"Policy that chooses a plan for each frame: {', '.join(POLICIES)}, or FILE.py:CLASS of your own.",
    ),
]
LateTarget = Annotated[
    str | None,
    typer.Option(
        "--late-target",
        metavar="SHARE",
        help="Share of late frames that you accept, such as 1%; it buys accuracy. Default: late counts as wrong.",
    ),
]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="NAME",
        help=f"Policy to run: {', '.join(POLICIES)}, or FILE.py:CLASS of your own. Repeat the option for several.",
    ),
]
Seconds = Annotated[float, typer.Option("--seconds", metavar="S", help="How long each policy runs.")]
Slowdown = Annotated[
    float, typer.Option("--slowdown", metavar="K", help="Emulate a device that is K times slower than this machine.")
]
ProfileSlowdown = Annotated[
    float, typer.Option("--slowdown", metavar="K", help="Assume a device that is K times slower than its profile.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Random seed of a generated link.")]
Rtt = Annotated[str, typer.Option("--rtt", metavar="TIME", help="Round-trip time of the link, such as 20ms.")]
Private = Annotated[bool, typer.Option("--private", help="Keep pixels on the device: send only tokens.")]
SourceSpec = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="SPEC",
        help="Source of frames: builtin, a folder of images, an image file, a video file, or camera:0.",
    ),
]
PageAddress = Annotated[
    str | None,
    typer.Option(
        "--page",
        metavar="HOST:PORT",
        help="Serve a page for the browser that shows what happens live, such as 127.0.0.1:8080. "
        "Needs pip install 'janus-vit\\[page]'.",
    ),
]
ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="This machine's profile, written by 'janus-vit profile'. Default: measure a quick one at the start.",
    ),
]
AccuracyFile = Annotated[
    Path | None,
    typer.Option(
        "--accuracy",
        metavar="FILE",
        help="Accuracy table, written by 'janus-vit calibrate'. Default: the table that ships with the model, if any.",
    ),
]


def parse_late_target(text: str | None, policy: str) -> float | None:
    """Convert a share such as "1%" or "0.01" for a policy; None stays None.

    Raises:
        InputError: the text is no share between 0 and 1, or the policy cannot keep to one.
    """
    if text is None:
        return None
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"--late-target {text!r} is no share of the frames: use one such as 1% or 0.01")
    share = float(match[1]) / (100 if match[2] else 1)
    check_late_target(share, policy)
    return share


def parse_duration(text: str, option: str, zero_allowed: bool = False) -> float:
    """Convert a time such as "300ms", "0.3s" or "2s" to seconds.

    Args:
        text: what the user wrote.
        option: name of the option, for error messages.
        zero_allowed: whether zero is a valid time.

    Raises:
        InputError: the text is not a time, has no unit, or is neither from 0.1 ms to an hour nor an allowed zero.
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
        raise InputError(f"{option} {shown(text)} is more than an hour: write a shorter time")
    if 0 < seconds < _SHORTEST_S:
        raise InputError(f"{option} {shown(text)} is less than {1e3 * _SHORTEST_S:g}ms: write a longer time")
    return seconds


def check_positive(value: float, option: str, example: str) -> float:
    """Require a finite number above zero, and return it.

    Args:
        value: the number.
        option: name of the option, for error messages.
        example: a valid value, for error messages.

    Raises:
        InputError: the number is not finite or not above zero.
    """
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{option} {value:g} must be a number above zero: use one such as {example}")
    return value


def check_writable(path: Path) -> Path:
    """Require a path for a new file, and return it. Commands call this before they measure what goes into the file.

    Raises:
        InputError: the folder of the path does not exist, or the path is a folder.
    """
    if os.path.isdir(path) or not os.path.isdir(path.absolute().parent):  # Path.is_dir raises for very long names
        reason = "it is a folder" if os.path.isdir(path) else "its folder does not exist"
        raise InputError(f"{path}: cannot be written ({reason}): choose another path")
    return path


def check_folder(path: Path) -> Path:
    """Require a folder, or a path where one can be created, and return it. It is created with its first file.

    Raises:
        InputError: the path is a file or below one, or nothing can be created there.
    """
    absolute = path.absolute()
    try:
        nearest = next(place for place in (absolute, *absolute.parents) if not _is_missing(place))
        if not os.path.isdir(nearest):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _no_folder(path, error) from error
    return path


def make_folder(path: Path) -> None:
    """Create a folder unless it exists.

    Raises:
        InputError: it cannot be created, or the path is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(path, error) from error


def _no_folder(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be created as a folder ({error.strerror}): choose another path")


def _is_missing(path: Path) -> bool:
    """Whether nothing has this path. Raises OSError if it cannot be looked up, such as a very long name."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def check_not_input(path: Path, *inputs: Path | str | None) -> Path:
    """Require a path for a new file that is none of the files which the command reads, and return it.

    Args:
        path: path of the new file.
        inputs: paths of what is read; names that are no files, such as those of models, do no harm.

    Raises:
        InputError: see `check_writable`; or the path is an input, which would be overwritten.
    """
    check_writable(path)
    if os.path.lexists(path) and real_path(path) in [real_path(Path(each)) for each in inputs if each is not None]:
        raise InputError(f"{path}: is also an input and would be overwritten: choose another path")
    return path


def check_different_paths(page: Path, table: Path | None, option: str = "--csv") -> None:
    """Require different paths for two files, of which `option` names the second.

    Raises:
        InputError: the paths are the same file.
    """
    if table is not None and real_path(table) == real_path(page):
        raise InputError(f"{page}: cannot be both files: give {option} another path")


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads for all computation in this process; None keeps the default."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
