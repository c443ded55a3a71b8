"""Load the model, the engine and the source of a command, and the options for them. Imports no torch at the top.

The functions import torch when they are called, so that --help stays fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import messages, say, warn
from janus_vit.cli.common.options import DEFAULT_MODEL
from janus_vit.errors import InputError
from janus_vit.model.engines.registry import engine_for_profile
from janus_vit.model.image_size import parse_image_size
from janus_vit.planning.latency import load_profile
from janus_vit.planning.outcome import DEFAULT_THRESHOLD

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model
    from janus_vit.model.engines.base import Engine
    from janus_vit.model.text.zeroshot import TextVectors
    from janus_vit.sources.frames import Source

DEFAULT_VIDEO_MODEL = "janus-motion"
VIDEO = "video"

Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="classify, multilabel (labels that do not exclude each other), regress (numbers), embed (vectors, without "
        "a classifier's last layer), features (the patch grid) or video. Default: the model's own task, which may also "
        "be depth, segment, detect or pose.",
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(
        "--image-size",
        metavar="N|HxW|frames:HxW",
        help="Run a checkpoint at N x N or H x W pixels instead of its own size, or at the size that its processor "
        "gives to frames of H x W pixels, if that keeps their aspect ratio.",
    ),
]
ArchitectureName = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        metavar="NAME",
        help="timm's name of the architecture, for a weight file of timm without a config.json.",
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        "--head",
        metavar="FILE.py:CLASS|FILE.pth",
        help="A head of your own on the patch grid of the model, or the weights of a linear segmentation head; both "
        "sides need the same file.",
    ),
]
Stride = Annotated[
    int | None,
    typer.Option(
        "--stride",
        metavar="N",
        min=1,
        help="Take every Nth frame into a clip (video models only). Default: 4.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="P",
        min=0.0,
        max=1.0,
        help="Probability from which a label of a multi-label model counts as found. Default: 0.5.",
    ),
]
TextVectorFile = Annotated[
    Path | None,
    typer.Option(
        "--text-vectors",
        metavar="FILE",
        help="An .npz file with the arrays labels and vectors. Each embedding gets the label of the nearest vector.",
    ),
]


def load_model_for_task(
    name: str,
    task: str | None,
    image_size: str | None,
    architecture: str | None = None,
    head: str | None = None,
) -> Model:
    """Load the model that the options of a command choose. Print what was changed on reading it.

    Args:
        name: value of --model.
        task: value of --task; None is the model's own task.
        image_size: value of --image-size; None is the model's own size.
        architecture: value of --architecture; None is what the checkpoint says.
        head: value of --head; None is the model's own head.

    Raises:
        InputError: the model does not exist, or does not support the task.
    """
    from janus_vit.model.catalog import load_model

    is_video = task == VIDEO
    if is_video and name == DEFAULT_MODEL:
        name = DEFAULT_VIDEO_MODEL
    size = None if image_size is None else parse_image_size(image_size)
    model = load_model(name, size, None if is_video else task, architecture, head)
    for note in model.notes:
        say(messages(), note)
    if is_video and model.preprocessing.frames == 1:
        raise InputError(f"model {model.name!r} takes images, not clips: use {DEFAULT_VIDEO_MODEL} or a VideoMAE model")
    return model


def load_engine(model: Model, name: str, profile: Path | None = None) -> Engine:
    """Load an engine, which takes over the model's weights. Warn if it cannot run here and another runs instead.

    Args:
        model: what the engine runs.
        name: the name that the user gave.
        profile: this machine's profile, if there is one. Instead of "auto", the engine that it was measured with runs.

    Raises:
        InputError: the engine is unknown or not installed, or the profile cannot be read.
    """
    from janus_vit.model.engines.factory import make_engine

    if profile is not None:
        name = engine_for_profile(name, load_profile(profile))
    return make_engine(model, name, keep_model=False, on_fallback=warn)


def check_source(spec: str) -> None:
    """Check that a source can be read. Commands call this before they load a model, which takes longer.

    Raises:
        InputError: the source cannot be read.
    """
    from janus_vit.sources.frames import open_source

    open_source(spec)


def stream_for(model: Model, spec: str, stride: int | None, count: int | None = None) -> Source:
    """Open a source of frames or clips, as the model needs.

    Args:
        model: the model that will run.
        spec: value of --source.
        stride: value of --stride.
        count: stop after this many frames or clips.

    Raises:
        InputError: the source cannot be read, or there is a stride and the model takes images.
    """
    from janus_vit.sources.streams import open_stream

    return open_stream(spec, model.preprocessing.frames, stride_for(model, stride), count, warn)


def stride_for(model: Model, stride: int | None) -> int:
    """Return how many frames of a video are one step of a clip.

    Args:
        model: the model.
        stride: value of --stride.

    Raises:
        InputError: there is a value, and the model takes images.
    """
    from janus_vit.sources.streams import DEFAULT_STRIDE

    if stride is not None and model.preprocessing.frames == 1:
        raise InputError(f"--stride {stride} is for video models, and model {model.name!r} takes images: leave it out")
    return DEFAULT_STRIDE if stride is None else stride


def load_text_vectors(path: Path | None, model: Model) -> TextVectors | None:
    """Read the text vectors for a model that embeds; None without a path.

    Raises:
        InputError: the file cannot be used, or the model does not embed.
    """
    from janus_vit.model.tasks import EMBED
    from janus_vit.model.text.zeroshot import read_text_vectors

    if path is None:
        return None
    if model.task != EMBED:
        raise InputError(f"--text-vectors {path}: model {model.name!r} has the task {model.task}: add --task embed")
    return read_text_vectors(path, model.network.output_width)


def threshold_for(model: Model, threshold: float | None) -> float | None:
    """Return the probability from which a label of a multi-label model counts as found; None for other models.

    Args:
        model: the model.
        threshold: value of --threshold.

    Raises:
        InputError: there is a value, and the labels of the model exclude each other.
    """
    from janus_vit.model.tasks import MULTILABEL

    if model.task == MULTILABEL:
        return DEFAULT_THRESHOLD if threshold is None else threshold
    if threshold is not None:
        raise InputError(
            f"--threshold {threshold:g} is for a multi-label model, and model {model.name!r} has the task "
            f"{model.task}: leave it out"
        )
    return None
