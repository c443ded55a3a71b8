"""Profiles and accuracy for commands: read from a file, or measured on this machine with a progress bar."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from janus_vit.cli.common.console import messages, progress, say
from janus_vit.errors import InputError
from janus_vit.planning.accuracy.table import AccuracyTable, load_accuracy
from janus_vit.planning.latency import PlatformProfile, load_profile

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model
    from janus_vit.model.engines.base import Engine
    from janus_vit.sources.frames import Source

NO_ACCURACY = (
    "no accuracy table for this model: plans come in the paper's order, the smallest pruning level first; "
    "'janus-vit calibrate' measures one"
)
_FRAMES = 8  # for the mean size of each image format


def read_profile(path: Path, model: Model, engine: Engine | None = None) -> PlatformProfile:
    """A profile of this model from its file.

    Args:
        engine: what runs the model here and now; None where the profile may be another machine's.

    Raises:
        InputError: damaged, or of another model, engine or number of threads.
    """
    profile = load_profile(path)
    made_for = profile.about.get("fingerprint")
    if profile.model != model.name or made_for not in (None, model.fingerprint):
        raise InputError(
            f"{path}: is the profile of model {profile.model!r} ({made_for}), not of {model.name!r} "
            f"({model.fingerprint}): profile this model"
        )
    if engine is not None:
        _check_setting(path, profile, engine)
    return profile


def _check_setting(path: Path, profile: PlatformProfile, engine: Engine) -> None:
    """What was measured with one engine and number of threads says nothing of another. A profile may name neither."""
    import torch

    threads = torch.get_num_threads()
    made = profile.about.get("engine", engine.name), profile.about.get("threads", threads)
    if made != (engine.name, threads):
        raise InputError(
            f"{path}: was measured with engine {made[0]} and {made[1]} threads, and {engine.name} with {threads} runs "
            f"here: run 'janus-vit profile' with --engine {engine.name} --threads {threads}, or give this command "
            f"--engine {made[0]} --threads {made[1]}"
        )


def measure(
    model: Model,
    engine: Engine,
    source: Source | None,
    quick: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> PlatformProfile:
    """Measure this machine with that engine, on the built-in frames if there is no source.

    `clock` as in `profile_machine`.
    """
    from janus_vit.calibration.profiler import FULL, QUICK, profile_machine
    from janus_vit.sources.frames import BUILTIN
    from janus_vit.sources.streams import open_stream

    samples = (source or open_stream(BUILTIN, model.preprocessing.frames)).first(_FRAMES)
    frames = [sample.frame for sample in samples]
    if not frames:
        raise InputError("the source has no frame that can be read: choose another")
    effort = QUICK if quick else FULL
    command = shlex.join(["janus-vit", *sys.argv[1:]])
    with progress(f"measuring {model.name}") as show:
        return profile_machine(model, frames, engine, effort=effort, command=command, progress=show, clock=clock)


def read_or_measure(path: Path | None, model: Model, engine: Engine, source: Source | None = None) -> PlatformProfile:
    """The profile in the file, or a quick one of this machine where there is no file.

    Raises:
        InputError: the file is damaged or of another model, engine or number of threads.
    """
    if path is not None:
        return read_profile(path, model, engine)
    say(messages(), f"measuring {model.name} on this machine; 'janus-vit profile' does it once and better", "dim")
    return measure(model, engine, source, quick=True)


def read_accuracy(path: Path | None, model: Model, precision: str) -> AccuracyTable | None:
    """The accuracy table in the file, or the model's own where there is no file; None if none holds at that precision.

    Raises:
        InputError: the file is damaged or of another model or precision.
    """
    from janus_vit.runtime.connect import accuracy_for

    return accuracy_for(model, precision, None if path is None else load_accuracy(path), str(path))
