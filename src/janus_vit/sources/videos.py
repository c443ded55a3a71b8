"""Read the frames of videos and cameras with PyAV, the extra `janus-vit[video]`. Knows pixels and times, no samples."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError
from janus_vit.input_files import check_file

_MOST_PIXELS = 89_478_485  # of a frame: as many as Pillow takes in an image
_CLOSE_S = 1.0  # a camera that takes longer for a frame is closed later, by its thread
_Item = TypeVar("_Item")


def count_frames(path: Path) -> int | None:
    """Return the number of frames of a video, None if the file does not say.

    Raises:
        InputError: the file is not a readable video, or PyAV is not installed.
    """
    with _open(check_file(path)) as container:
        return container.streams.video[0].frames or None  # 0 means that the file does not say


def video_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video file, uint8 [H, W, 3], RGB.

    Raises:
        InputError: the file is not a readable video, or PyAV is not installed.
    """
    with _open(check_file(path)) as container:
        yield from map(_pixels, container.decode(video=0))


def camera_frames(path: Path) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Yield the newest frame of a camera, uint8 [H, W, 3], RGB, and its time by `time.perf_counter`.

    Raises:
        InputError: the camera cannot be read, or PyAV is not installed.
    """
    for frame, captured_s in newest(_arrivals(path)):
        yield _pixels(frame), captured_s


def _arrivals(path: Path) -> Generator[tuple[Any, float], None, None]:
    """Open a camera and yield its frames with their times. The thread that reads it is the one that closes it."""
    with _open(path, "v4l2") as container:
        for frame in container.decode(video=0):
            yield frame, time.perf_counter()


def newest(items: Generator[_Item, None, None]) -> Iterator[_Item]:
    """Yield the newest item of a source that does not wait, such as a camera.

    A thread reads the items, and closes their source. Items that arrive while the consumer is busy replace each other,
    so the consumer always gets the last one. An exception of the source is raised in the consumer. The consumer may
    end while the source gives nothing: its thread is left behind then.
    """
    latest: deque[_Item] = deque(maxlen=1)
    changed = threading.Condition()
    failures: list[BaseException] = []
    finished = threading.Event()

    def read() -> None:
        try:
            for item in items:
                with changed:
                    latest.append(item)
                    changed.notify()
                if finished.is_set():
                    return
        except BaseException as error:  # raised again in the consumer
            failures.append(error)
        finally:
            items.close()
            finished.set()
            with changed:
                changed.notify()

    reader = threading.Thread(target=read, name="janus-camera", daemon=True)
    reader.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: latest or finished.is_set())
                if not latest:
                    break
                item = latest.popleft()
            yield item
    finally:
        finished.set()
        reader.join(_CLOSE_S)
    if failures:
        raise failures[0]


def _pixels(frame: Any) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return pixels


@contextmanager
def _open(path: Path, container_format: str | None = None) -> Iterator[Any]:
    """Open a PyAV container that has a video stream. PyAV's errors become InputError, also inside the `with` block."""
    try:
        import av
    except ImportError as error:
        raise InputError(
            f"{path}: videos and cameras need PyAV: install it with pip install 'janus-vit[video]'"
        ) from error
    try:
        with av.open(str(path), format=container_format, metadata_errors="replace") as container:
            if not container.streams.video:
                raise InputError(f"{path}: holds no video: choose another file")
            decoder = container.streams.video[0].codec_context
            if decoder is None:
                raise InputError(f"{path}: holds a video of an unknown codec: convert it, or choose another file")
            decoder.options = {"max_pixels": str(_MOST_PIXELS)}
            yield container
    except av.FFmpegError as error:
        raise InputError(
            f"{path}: cannot be read as a video ({error.strerror}): check the file or the camera"
        ) from error
    except (ValueError, MemoryError) as error:  # PyAV itself, on what damaged files hold
        raise InputError(f"{path}: cannot be read as a video ({error}): check the file or the camera") from error
