"""Profiles and accuracy for commands: read from a file, or measured on this machine with a progress bar."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from janus_vit.cli.console import messages, progress, say
from janus_vit.errors import InputError
from janus_vit.planning.accuracy import AccuracyTable, load_accuracy
from janus_vit.planning.latency import PlatformProfile, load_profile

if TYPE_CHECKING:
    from janus_vit.lab.sources import Source
    from janus_vit.model.catalog import Model

NO_ACCURACY = (
    "no accuracy table for this model: plans come in the paper's order, the smallest pruning level first; "
    "'janus-vit calibrate' measures one"
)
_FRAMES = 8  # for the mean size of each image format


def read_profile(path: Path, model: Model) -> PlatformProfile:
    """A profile of this model from its file.

    Raises:
        InputError: damaged, or of another model.
    """
    profile = load_profile(path)
    made_for = profile.about.get("fingerprint")
    if profile.model != model.name or made_for not in (None, model.fingerprint):
        raise InputError(
            f"{path}: is the profile of model {profile.model!r} ({made_for}), not of {model.name!r} "
            f"({model.fingerprint}): profile this model"
        )
    return profile


def measure(
    model: Model, source: Source | None, quick: bool, clock: Callable[[], float] = time.perf_counter
) -> PlatformProfile:
    """Measure this machine, on the built-in frames if there is no source; `clock` as in `profile_machine`."""
    from janus_vit.lab.profiler import FULL, QUICK, profile_machine
    from janus_vit.lab.sources import BUILTIN
    from janus_vit.lab.streams import open_stream

    samples = (source or open_stream(BUILTIN, model.preprocessing.frames)).first(_FRAMES)
    frames = [sample.frame for sample in samples]
    if not frames:
        raise InputError("the source has no frame that can be read: choose another")
    effort = QUICK if quick else FULL
    command = shlex.join(["janus-vit", *sys.argv[1:]])
    with progress(f"measuring {model.name}") as show:
        return profile_machine(model, frames, effort=effort, command=command, progress=show, clock=clock)


def read_or_measure(path: Path | None, model: Model, source: Source | None = None) -> PlatformProfile:
    """The profile in the file, or a quick one of this machine where there is no file.

    Raises:
        InputError: the file is damaged or of another model.
    """
    if path is not None:
        return read_profile(path, model)
    say(messages(), f"measuring {model.name} on this machine; 'janus-vit profile' does it once and better", "dim")
    return measure(model, source, quick=True)


def read_accuracy(path: Path | None, model: Model) -> AccuracyTable | None:
    """The accuracy table in the file, or the model's own where there is no file; None if it has none.

    Raises:
        InputError: the file is damaged or of another model or engine.
    """
    from janus_vit.model.engines.eager import EagerEngine

    if path is None:
        return model.accuracy
    return load_accuracy(path).for_model(model.name, model.fingerprint, EagerEngine.name, str(path))
