"""What a model is fed from a source: single frames, or clips of consecutive frames for a model of videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from janus_vit.errors import InputError
from janus_vit.model.catalog import Model
from janus_vit.sources.frames import BUILTIN, Sample, Source, open_source
from janus_vit.sources.motion import MOTION_LABELS, STYLE, motion_clips

DEFAULT_STRIDE = 4  # of VideoMAE's training on Kinetics
_BUILTIN_CLIPS, _BUILTIN_SEED = 500, 1
_DRAWN_AT_ONCE = 50
_DIGITS = tuple("0123456789")  # labels of the built-in frames


def open_stream(
    spec: str,
    clip_frames: int = 1,
    stride: int = DEFAULT_STRIDE,
    count: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> Source:
    """Find what a user wants to run.

    Args:
        spec, warn: as in `open_source`. count: stop after so many frames or clips.
        clip_frames: that the model takes, 1 for images. stride: frames from one frame of a clip to the next.

    Raises:
        InputError: nothing there that can be read, or clips from single images.
    """
    if clip_frames == 1:
        return open_source(spec, count, warn)
    if spec == BUILTIN:
        return _builtin_clips(clip_frames, _BUILTIN_CLIPS if count is None else count)
    clips = _windows(open_source(spec, None, warn), clip_frames, stride)
    return clips if count is None else clips.first(count)


def true_label(sample: Sample, model: Model) -> int | None:
    """The true class. Only built-in frames and clips have one, which says nothing about a model of other classes."""
    known = _DIGITS if model.preprocessing.frames == 1 else MOTION_LABELS
    return sample.label if model.labels == known else None


def _builtin_clips(frames: int, count: int) -> Source:
    """So many clips; after the last of the set the first comes again."""
    style = replace(STYLE, frames=frames)

    def samples() -> Iterator[Sample]:
        for first in range(0, count, _DRAWN_AT_ONCE):
            clips, labels = motion_clips(_DRAWN_AT_ONCE, _BUILTIN_SEED + first % _BUILTIN_CLIPS, style=style)
            for index, (clip, label) in enumerate(zip(clips, labels, strict=True), start=first % _BUILTIN_CLIPS):
                yield Sample(f"{BUILTIN} clip {index}", clip, int(label))

    return Source(samples, None).first(count)


def _windows(source: Source, frames: int, stride: int) -> Source:
    """Clips one after the other; what is left at the end is too short for one."""
    span = (frames - 1) * stride + 1

    def samples() -> Iterator[Sample]:
        kept: list[Sample] = []  # only those that the clip takes
        made = seen = within = 0
        for sample in source:
            if within % stride == 0:
                kept.append(sample)
            within, seen = within + 1, seen + 1
            if within < span:
                continue
            if len({one.frame.shape for one in kept}) > 1:
                raise InputError(f"{sample.name}: frames of one clip differ in size: give a video, or equal images")
            yield Sample(f"{kept[0].name} and on", np.stack([one.frame for one in kept]), None)
            kept, within, made = [], 0, made + 1
        if not made:
            raise InputError(
                f"the source has {seen} frames and a clip of {frames} frames at stride {stride} needs {span}: "
                "use a longer video or a smaller --stride"
            )

    length = None if source.length is None else source.length // span
    return Source(samples, length or None, source.skipped)
