"""Clips of videos for measuring a model: where they begin, which frames they take, and how they are cropped.

As in VideoMAE's evaluation (Tong et al., NeurIPS 2022): several clips spread evenly over a video, each as several
squares spread evenly along the longer side; the answers are averaged. Knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError
from janus_vit.lab.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, open_source, read_image

Frame = NDArray[np.uint8]  # [H, W, 3]
Clip = NDArray[np.uint8]  # [T, H, W, 3]


@dataclass(frozen=True, slots=True)
class Video:
    """A video file, or a folder whose images are its frames.

    Attributes:
        name: for people. path: of the file or the folder.
    """

    name: str
    path: Path

    def frames(self) -> Iterator[Frame]:
        """Its frames in order; those of a folder by name, numbers by value.

        Raises:
            InputError: it cannot be read, or PyAV is needed and not installed.
        """
        if self.path.is_dir():
            return map(read_image, _children(self.path, IMAGE_SUFFIXES))
        return (sample.frame for sample in open_source(str(self.path)))


def read_clip_files(folder: Path) -> list[Video]:
    """The videos in a folder by name: video files and folders of frames; or the folder itself if it holds frames.

    Raises:
        InputError: it cannot be listed or holds neither.
    """
    if _children(folder, IMAGE_SUFFIXES):
        return [Video(folder.name, folder)]
    folders = [path for path in _children(folder) if path.is_dir() and _children(path, IMAGE_SUFFIXES)]
    found = sorted([*_children(folder, VIDEO_SUFFIXES), *folders], key=_by_number)
    if not found:
        raise InputError(f"{folder}: holds neither videos nor frames of one: choose another folder")
    return [Video(path.name, path) for path in found]


def clip_positions(length: int, frames: int, stride: int, clips: int) -> list[list[int]]:
    """Which frames of a video each clip takes: the first clip begins where it begins, the last ends where it ends.

    Args:
        length: frames of the video.
        frames: of a clip.
        stride: frames of the video from one frame of a clip to the next. Clips take multiples of it only.
        clips: of the video; a single one is taken from its middle.

    Raises:
        InputError: the video is too short for one clip, or a number is not positive.
    """
    if min(frames, stride, clips) < 1:
        raise InputError(f"{clips} clips of {frames} frames at stride {stride} are none: use numbers from 1 on")
    needed = (frames - 1) * stride + 1
    if length < needed:
        raise InputError(
            f"it has {length} frames and a clip of {frames} frames at stride {stride} needs {needed}: "
            "use a smaller stride or a longer video"
        )
    spare = -(-length // stride) - frames  # strides that a clip can be late
    starts = [spare // 2] if clips == 1 else [index * spare // (clips - 1) for index in range(clips)]
    return [[(start + index) * stride for index in range(frames)] for start in starts]


def sample_clips(frames: Iterable[Frame], count: int, stride: int, clips: int, name: str = "the video") -> list[Clip]:
    """Clips [count, H, W, 3] of a video. Only every `stride`-th frame is kept in memory.

    Args:
        frames: of the whole video, uint8 [H, W, 3].
        count: frames of a clip.
        stride, clips: as in `clip_positions`.
        name: of the video, for errors.

    Raises:
        InputError: the video is too short, or its frames are of different sizes.
    """
    kept: list[Frame] = []
    length = 0
    for frame in frames:
        if length % max(stride, 1) == 0:
            kept.append(frame)
        length += 1
    try:
        positions = clip_positions(length, count, stride, clips)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if len({frame.shape for frame in kept}) > 1:
        raise InputError(f"{name}: its frames are of different sizes: save them all with the same one")
    return [np.stack([kept[position // stride] for position in places]) for places in positions]


def square_crops(clip: Clip, crops: int) -> list[Clip]:
    """Views [T, S, S, 3] of a clip, S its shorter side, spread evenly along the longer; a single one in the middle."""
    height, width = clip.shape[1:3]
    side, spare = min(height, width), abs(height - width)
    starts = [spare // 2] if crops == 1 else [index * spare // (crops - 1) for index in range(crops)]
    if height > width:
        return [clip[:, start : start + side] for start in starts]
    return [clip[:, :, start : start + side] for start in starts]


def _children(folder: Path, suffixes: tuple[str, ...] = ()) -> list[Path]:
    """What a folder holds, hidden things left out; with suffixes only such files."""
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be listed ({error.strerror}): check the path and its permissions"
        ) from error
    if suffixes:
        paths = [path for path in paths if path.suffix.lower() in suffixes and path.is_file()]
    return sorted(paths, key=_by_number)


def _by_number(path: Path) -> list[str | int]:
    """Sorts frame 2 before frame 10."""
    return [int(part) if part.isascii() and part.isdecimal() else part for part in re.split(r"([0-9]+)", path.name)]
