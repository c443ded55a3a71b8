"""Write overlays of dense answers for the option --show: one file that is replaced, or a folder of all frames."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.options import check_folder, make_folder
from janus_vit.errors import InputError
from janus_vit.model.tasks import DENSE_TASKS, SEGMENT

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model
    from janus_vit.planning.outcome import Outcome
    from janus_vit.sources.frames import Sample

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
Show = Annotated[
    Path | None,
    typer.Option(
        "--show",
        metavar="FILE/DIR",
        help="Write pictures of the frames with depth, segments, boxes, key points or features drawn over them: all "
        "frames into a folder, or the newest one into a file such as now.png.",
    ),
]


class OverlayWriter:
    """Writes the overlay of each frame. The first one creates the folder.

    Args:
        path: a picture's file, which is replaced with each frame, or a folder.
        model: the model whose answers are drawn.

    Raises:
        InputError: the model gives nothing to draw, or the path cannot be written.
    """

    def __init__(self, path: Path, model: Model) -> None:
        if model.task not in DENSE_TASKS:
            raise InputError(
                f"--show {path}: model {model.name!r} has the task {model.task}, of which nothing can be drawn: use a "
                f"model for one of {', '.join(DENSE_TASKS)}"
            )
        self._path, self._model = path, model
        self._is_file = path.suffix.lower() in SUFFIXES
        self._folder = check_folder(path.parent if self._is_file else path)

    def write(self, sample: Sample, outcome: Outcome) -> None:
        """Draw one frame and write it.

        Raises:
            InputError: the picture cannot be written.
        """
        from janus_vit.report.overlays import overlay

        model = self._model
        frame = sample.frame if model.preprocessing.squash else model.preprocessing.crop(sample.frame)
        frame = frame[0] if frame.ndim == 4 else frame
        picture = overlay(frame, outcome.answer, model.labels, is_classes=model.task == SEGMENT)
        path = self._path if self._is_file else self._path / f"{outcome.frame:05d}-{_file_name(sample.name)}.png"
        part = path.with_name(f".{path.name}")
        make_folder(self._folder)
        try:
            picture.save(part, format="png" if path.suffix == ".png" else None)
            part.replace(path)  # whoever looks at the file never sees half of it
        except (OSError, ValueError) as error:
            raise InputError(f"--show {path}: cannot be written ({error}): choose another path") from error


def _file_name(name: str) -> str:
    """Return a name without characters that mean something in paths."""
    return re.sub(r"[^\w.-]+", "-", name)[-60:].removesuffix(".png") or "frame"
