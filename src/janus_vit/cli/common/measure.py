"""Read profiles and accuracy tables for a command, or measure a profile on this machine with a progress bar."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from janus_vit.cli.common.console import messages, progress, say, warn
from janus_vit.errors import InputError
from janus_vit.planning.accuracy.table import AccuracyTable, load_accuracy
from janus_vit.planning.latency import PlatformProfile, load_profile

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model
    from janus_vit.model.engines.base import Engine
    from janus_vit.sources.frames import Source

NO_ACCURACY = (
    "no accuracy table for this model: plans are ordered by what they cost another model; "
    "'janus-vit calibrate' measures a table"
)
_FRAMES = 8  # to measure the mean size of each image format
_NOISY = 0.2  # mean relative error of the fitted times; an idle machine stays below 0.1


def read_profile(path: Path, model: Model, engine: Engine | None = None) -> PlatformProfile:
    """Read a profile of a model.

    Args:
        path: the file.
        model: the model that the profile must belong to.
        engine: the engine that the profile must belong to, with the current number of threads. None accepts any, for
            the profile of another machine.

    Raises:
        InputError: the file is damaged, or belongs to another model, engine or number of threads.
    """
    profile = load_profile(path)
    made_for = profile.about.get("fingerprint")
    if profile.model != model.name or made_for not in (None, model.fingerprint):
        raise InputError(
            f"{path}: is the profile of model {profile.model!r} ({made_for}), not of {model.name!r} "
            f"({model.fingerprint}): run 'janus-vit profile' with this model"
        )
    if engine is not None:
        _check_engine_and_threads(path, profile, engine)
    return profile


def _check_engine_and_threads(path: Path, profile: PlatformProfile, engine: Engine) -> None:
    """Refuse a profile of another engine or number of threads. A profile that names neither is accepted."""
    import torch

    threads = torch.get_num_threads()
    made = profile.about.get("engine", engine.name), profile.about.get("threads", threads)
    if made != (engine.name, threads):
        raise InputError(
            f"{path}: was measured with engine {made[0]} and {made[1]} threads, but this command uses {engine.name} "
            f"with {threads}: run 'janus-vit profile' with --engine {engine.name} --threads {threads}, or give this "
            f"command --engine {made[0]} --threads {made[1]}"
        )


def measure_profile(
    model: Model,
    engine: Engine,
    source: Source | None,
    quick: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> PlatformProfile:
    """Measure a profile of this machine, with a progress bar. Warn if the times scatter too much to predict with.

    Args:
        model: the model to measure.
        engine: the engine that runs it.
        source: frames to measure on; None uses the built-in frames.
        quick: whether to take seconds instead of minutes, with less accurate results.
        clock: returns seconds; `time.thread_time` measures CPU time instead of elapsed time.

    Raises:
        InputError: the source has no readable frame.
    """
    from janus_vit.calibration.profiler import FULL, QUICK, profile_machine
    from janus_vit.sources.frames import BUILTIN
    from janus_vit.sources.streams import open_stream

    samples = (source or open_stream(BUILTIN, model.preprocessing.frames)).first(_FRAMES)
    frames = [sample.frame for sample in samples]
    if not frames:
        raise InputError("the source has no readable frame: choose another source")
    effort = QUICK if quick else FULL
    command = shlex.join(["janus-vit", *sys.argv[1:]])
    with progress(f"measuring {model.name}") as show:
        measured = profile_machine(model, frames, engine, effort=effort, command=command, progress=show, clock=clock)
    if measured.quadratic.mean_error > _NOISY:
        warn(
            f"the measured times differ from their fitted curve by {measured.quadratic.mean_error:.0%} on average: "
            "stop other programs and measure again"
        )
    return measured


def read_or_measure_profile(
    path: Path | None, model: Model, engine: Engine, source: Source | None = None
) -> PlatformProfile:
    """Read a profile from its file, or measure a quick one of this machine if there is no file.

    Raises:
        InputError: the file is damaged, or belongs to another model, engine or number of threads.
    """
    if path is not None:
        return read_profile(path, model, engine)
    say(
        messages(),
        f"measuring {model.name} on this machine; 'janus-vit profile' does this once and more accurately",
        "dim",
    )
    return measure_profile(model, engine, source, quick=True)


def read_accuracy(path: Path | None, model: Model, precision: str) -> AccuracyTable | None:
    """Read the accuracy table from a file, or use the table that ships with the model if there is no file.

    Returns:
        The table, or None if the model has none for this precision.

    Raises:
        InputError: the file is damaged, or belongs to another model or precision.
    """
    from janus_vit.runtime.connect import accuracy_for

    return accuracy_for(model, precision, None if path is None else load_accuracy(path), str(path))
