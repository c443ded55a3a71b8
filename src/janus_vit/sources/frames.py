"""Open a source of frames by its name: built-in scenes, images, a video or a camera. Knows no model and no network.

Videos and cameras need PyAV, the extra `janus-vit[video]`. The other sources do not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError
from janus_vit.sources.builtin import builtin_frames
from janus_vit.sources.image_files import (
    IMAGE_SUFFIXES,
    list_images,
    no_image_error,
    read_image,
    warn_of_other_files,
)
from janus_vit.sources.returning import returning
from janus_vit.sources.videos import camera_frames, count_frames, video_frames

BUILTIN = "builtin"
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv")
SOURCE_KINDS = f"{BUILTIN}, a folder of images, an image file, a video file, or camera:0"
_CAMERA = re.compile(r"(?:camera:|/dev/video)(\d+)")


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame of a stream.

    Attributes:
        name: where the frame comes from, in words.
        frame: uint8 [H, W, 3], RGB; for a clip uint8 [T, H, W, 3].
        label: index of the true class; None if unknown.
        captured_s: when a camera took it, by `time.perf_counter`; None for a frame from a file.
    """

    name: str
    frame: NDArray[np.uint8]
    label: int | None
    captured_s: float | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """The samples of a stream, in order. Every iteration starts at the first sample.

    Attributes:
        start: begins an iteration.
        length: largest number of samples in one iteration; None if unknown.
        skipped: name and reason of each image that could not be read so far.
        live: True for a camera, which does not wait.
    """

    start: Callable[[], Iterator[Sample]]
    length: int | None
    skipped: Mapping[str, str] = field(default_factory=dict)
    live: bool = False

    def __iter__(self) -> Iterator[Sample]:
        return self.start()

    def first(self, count: int) -> Source:
        """Return a source of the first `count` samples."""
        length = count if self.length is None else min(count, self.length)
        return Source(lambda: islice(self.start(), count), length, self.skipped, self.live)


def open_source(spec: str, frames: int | None = None, warn: Callable[[str], None] = lambda message: None) -> Source:
    """Open a source of frames.

    Args:
        spec: "builtin", a folder of images, an image file, a video file, "camera:0" or "/dev/video0".
        frames: stop after this many frames. The built-in frames repeat if there are fewer; other sources just end.
        warn: called with a message for each image that is skipped because it cannot be read, and when a camera goes
            away or returns.

    Raises:
        InputError: the source cannot be read, or needs PyAV, which is not installed.
    """
    if spec == BUILTIN:
        return _builtin_source(frames)
    source = _open_files_or_camera(spec, warn)
    return source if frames is None else source.first(frames)


def _open_files_or_camera(spec: str, warn: Callable[[str], None]) -> Source:
    path = Path(spec)
    if camera := _CAMERA.fullmatch(spec):
        return _camera_source(Path(f"/dev/video{camera[1]}"), warn)
    if os.path.isdir(path):  # Path.is_dir and Path.exists raise for very long names
        return _folder_source(path, warn)
    if not os.path.exists(path):
        raise InputError(f"source {spec!r} does not exist: use {SOURCE_KINDS}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return images_source({path.name: path}, warn)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return _video_source(path)
    raise InputError(f"source {spec!r} has the file name of neither an image nor a video: use {SOURCE_KINDS}")


def _builtin_source(frames: int | None) -> Source:
    images, labels = builtin_frames()
    count = len(images) if frames is None else frames

    def samples() -> Iterator[Sample]:
        for index in (number % len(images) for number in range(count)):
            yield Sample(f"{BUILTIN} {index}", np.ascontiguousarray(images[index]), int(labels[index]))

    return Source(samples, count)


def _folder_source(folder: Path, warn: Callable[[str], None]) -> Source:
    paths = list_images(folder)
    if not paths:
        raise no_image_error(folder)
    warn_of_other_files(folder, warn)
    return images_source({path.name: path for path in paths}, warn)


def images_source(
    paths: Mapping[str, Path], warn: Callable[[str], None], labels: Mapping[str, int] | None = None
) -> Source:
    """Open image files as a source. Unreadable images are skipped with a warning.

    Args:
        paths: the file of each sample name.
        warn: called once with a message for each image that is skipped.
        labels: index of the true class of each sample name, where it is known.

    Raises:
        InputError: none of the images can be read.
    """
    skipped: dict[str, str] = {}

    def samples() -> Iterator[Sample]:
        for name, path in paths.items():
            try:
                frame = read_image(path)
            except InputError as error:
                if name not in skipped:
                    skipped[name] = str(error)
                    warn(f"skipped {error}")
                continue
            yield Sample(name, frame, (labels or {}).get(name))

    _require_readable(list(paths.values()))
    return Source(samples, len(paths), skipped)


def _require_readable(paths: list[Path]) -> None:
    """Require one readable image at the start, so that an unusable source fails before a device connects."""
    first = _read_error(paths[0])
    if first is not None and all(_read_error(path) for path in paths[1:]):
        raise first if len(paths) == 1 else InputError(f"none of {len(paths)} images can be read, such as {first}")


def _read_error(path: Path) -> InputError | None:
    try:
        read_image(path)
    except InputError as error:
        return error
    return None


def _video_source(path: Path) -> Source:
    def samples() -> Iterator[Sample]:
        for index, frame in enumerate(video_frames(path)):
            yield Sample(f"{path.name} frame {index}", frame, None)

    return Source(samples, count_frames(path))


def _camera_source(path: Path, warn: Callable[[str], None]) -> Source:
    if not path.exists():
        raise InputError(f"camera {path} does not exist: connect the camera, or choose another number")

    def samples() -> Iterator[Sample]:
        for index, (frame, captured_s) in enumerate(returning(str(path), lambda: camera_frames(path), warn)):
            yield Sample(f"{path.name} frame {index}", frame, None, captured_s)

    return Source(samples, None, live=True)
