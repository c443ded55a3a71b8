"""Frames of a stream by one word: built-in scenes, images, a video or a camera. Knows no model and no network.

Videos and cameras are read through PyAV, the extra `janus-vit[video]`; nothing else needs it.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from janus_vit.errors import InputError
from janus_vit.sources.builtin import builtin_frames

BUILTIN = "builtin"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv")
KINDS = f"{BUILTIN}, a folder of images, an image file, a video file, or camera:0"
_CAMERA = re.compile(r"(?:camera:|/dev/video)(\d+)")
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame of a stream.

    Attributes:
        name: where it comes from, for people. frame: uint8 [H, W, 3], RGB. label: index of its class, None if unknown.
    """

    name: str
    frame: NDArray[np.uint8]
    label: int | None


@dataclass(frozen=True, eq=False)
class Source:
    """The samples of a stream, in order; every iteration starts from the first.

    Attributes:
        start: begins an iteration.
        length: how many samples one iteration has at most, None if nobody knows.
        skipped: file name -> reason, of each image that could not be read so far.
    """

    start: Callable[[], Iterator[Sample]]
    length: int | None
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Sample]:
        return self.start()

    def first(self, count: int) -> Source:
        """The same samples, `count` at most."""
        length = count if self.length is None else min(count, self.length)
        return Source(lambda: islice(self.start(), count), length, self.skipped)


def open_source(spec: str, frames: int | None = None, warn: Callable[[str], None] = lambda message: None) -> Source:
    """Find the frames that a user means.

    Args:
        spec: "builtin", a folder of images, an image file, a video file, "camera:0" or "/dev/video0".
        frames: stop after so many. The built-in frames then start again if they are fewer; all else just ends.
        warn: told once of each image that is skipped because it cannot be read.

    Raises:
        InputError: nothing there that can be read, or PyAV is needed and not installed.
    """
    if spec == BUILTIN:
        return _builtin(frames)
    source = _find(spec, warn)
    return source if frames is None else source.first(frames)


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as RGB, turned as its EXIF orientation says.

    Raises:
        InputError: not a readable image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image of a known format: remove it or save it again") from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise InputError(f"{path}: cannot be read as an image ({error}): remove it or save it again") from error


def newest(items: Iterator[_Item]) -> Iterator[_Item]:
    """Items as they arrive, without those that arrived while the consumer was busy: a camera does not wait."""
    latest: deque[_Item] = deque(maxlen=1)
    changed = threading.Condition()
    failures: list[BaseException] = []
    over = threading.Event()

    def read() -> None:
        try:
            for item in items:
                with changed:
                    latest.append(item)
                    changed.notify()
                if over.is_set():
                    return
        except BaseException as error:  # raised again by the consumer
            failures.append(error)
        finally:
            over.set()
            with changed:
                changed.notify()

    reader = threading.Thread(target=read, name="janus-camera", daemon=True)
    reader.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: latest or over.is_set())
                if not latest:
                    break
                item = latest.popleft()
            yield item
    finally:
        over.set()
        reader.join()
    if failures:
        raise failures[0]


def _find(spec: str, warn: Callable[[str], None]) -> Source:
    path = Path(spec)
    if camera := _CAMERA.fullmatch(spec):
        return _camera(Path(f"/dev/video{camera[1]}"))
    if path.is_dir():
        return _folder(path, warn)
    if not path.exists():
        raise InputError(f"source {spec!r} does not exist: use {KINDS}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return images_source({path.name: path}, warn)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return _video(path)
    raise InputError(f"source {spec!r} is neither an image nor a video by its name: use {KINDS}")


def _builtin(frames: int | None) -> Source:
    images, labels = builtin_frames()
    count = len(images) if frames is None else frames

    def samples() -> Iterator[Sample]:
        for index in (number % len(images) for number in range(count)):
            yield Sample(f"{BUILTIN} {index}", np.ascontiguousarray(images[index]), int(labels[index]))

    return Source(samples, count)


def _folder(folder: Path, warn: Callable[[str], None]) -> Source:
    paths = list_images(folder)
    if not paths:
        raise InputError(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)}): choose another folder")
    return images_source({path.name: path for path in paths}, warn)


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in order of their names, none from folders inside it.

    Raises:
        InputError: it cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if _is_image(path))
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}): check its permissions") from error


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def images_source(
    paths: Mapping[str, Path], warn: Callable[[str], None], labels: Mapping[str, int] | None = None
) -> Source:
    """Images under their names, with a label where one is known.

    Raises:
        InputError: none of them can be read.
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
    """Look for one image that can be read now: a stream without any must not get as far as the cloud."""
    first = _failure(paths[0])
    if first is not None and all(_failure(path) for path in paths[1:]):
        raise first if len(paths) == 1 else InputError(f"none of {len(paths)} images can be read, such as {first}")


def _failure(path: Path) -> InputError | None:
    try:
        read_image(path)
    except InputError as error:
        return error
    return None


def _video(path: Path) -> Source:
    with _opened(path) as container:
        length = container.streams.video[0].frames or None  # 0: the file does not say
    return Source(lambda: _decoded(path), length)


def _decoded(path: Path) -> Iterator[Sample]:
    with _opened(path) as container:
        for index, frame in enumerate(container.decode(video=0)):
            yield Sample(f"{path.name} frame {index}", frame.to_ndarray(format="rgb24"), None)


def _camera(path: Path) -> Source:
    if not path.exists():
        raise InputError(f"camera {path} does not exist: connect one that the system offers as {path}")

    def samples() -> Iterator[Sample]:
        with _opened(path, "v4l2") as container:
            for index, frame in enumerate(newest(container.decode(video=0))):
                yield Sample(f"{path.name} frame {index}", frame.to_ndarray(format="rgb24"), None)

    return Source(samples, None)


@contextmanager
def _opened(path: Path, container_format: str | None = None) -> Iterator[Any]:
    """An open PyAV container with a video stream; PyAV's errors become ours, also those of decoding."""
    try:
        import av
    except ImportError as error:
        raise InputError(
            f"{path}: videos and cameras need PyAV: install it with pip install 'janus-vit[video]'"
        ) from error
    try:
        with av.open(str(path), format=container_format) as container:
            if not container.streams.video:
                raise InputError(f"{path}: holds no video: choose another file")
            yield container
    except av.FFmpegError as error:
        raise InputError(
            f"{path}: cannot be read as a video ({error.strerror}): check the file or the camera"
        ) from error
