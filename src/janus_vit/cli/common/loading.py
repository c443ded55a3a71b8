"""Which model a command runs, and on what: options that belong together. Imports no torch: --help is to be quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import warn
from janus_vit.cli.common.options import DEFAULT_MODEL
from janus_vit.errors import InputError

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model
    from janus_vit.model.engines.base import Engine
    from janus_vit.model.zeroshot import TextVectors
    from janus_vit.sources.frames import Source

DEFAULT_VIDEO_MODEL = "janus-motion"
VIDEO = "video"

Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="classify, embed (vectors, without a classifier's last layer) or video; default: what the model is for.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option("--image-size", metavar="N", min=1, help="Run a checkpoint at N x N pixels instead of its own size."),
]
Stride = Annotated[
    int, typer.Option("--stride", metavar="N", min=1, help="Clips take every Nth frame (models of videos only).")
]
TextVectorFile = Annotated[
    Path | None,
    typer.Option(
        "--text-vectors",
        metavar="FILE",
        help="An .npz with arrays labels and vectors: embeddings are labelled with the nearest.",
    ),
]


def load(name: str, task: str | None, image_size: int | None) -> Model:
    """Load the model that the options mean.

    Raises:
        InputError: no such model, or it cannot do the task.
    """
    from janus_vit.model.catalog import load_model

    if task != VIDEO:
        return load_model(name, image_size, task)
    model = load_model(DEFAULT_VIDEO_MODEL if name == DEFAULT_MODEL else name, image_size)
    if model.preprocessing.frames == 1:
        raise InputError(f"model {model.name!r} takes images, not clips: use {DEFAULT_VIDEO_MODEL} or a VideoMAE model")
    return model


def load_engine(model: Model, name: str) -> Engine:
    """The engine of that name, which takes the model's weights over.

    Raises:
        InputError: unknown or not installed.
    """
    from janus_vit.model.engines.factory import make_engine

    return make_engine(model, name, keep_model=False, on_fallback=warn)


def check_source(spec: str) -> None:
    """Find a source before the model is loaded, which takes longer.

    Raises:
        InputError: the source cannot be read.
    """
    from janus_vit.sources.frames import open_source

    open_source(spec)


def stream_for(model: Model, spec: str, stride: int, count: int | None = None) -> Source:
    """Frames or clips for the model, whichever it takes.

    Raises:
        InputError: the source cannot be read.
    """
    from janus_vit.sources.streams import open_stream

    return open_stream(spec, model.preprocessing.frames, stride, count, warn)


def read_texts(path: Path | None, model: Model) -> TextVectors | None:
    """The text vectors for a model that embeds, if any are given.

    Raises:
        InputError: the file cannot be used, or the model does not embed.
    """
    from janus_vit.model.tasks import EMBED
    from janus_vit.model.zeroshot import read_text_vectors

    if path is None:
        return None
    if model.task != EMBED:
        raise InputError(f"--text-vectors {path}: model {model.name!r} classifies itself: add --task embed")
    return read_text_vectors(path, model.network.output_width)
