"""Turn a source of frames into a model's inputs: single frames, or clips of consecutive frames for a video model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from janus_vit.errors import InputError
from janus_vit.model.catalog import Model
from janus_vit.model.tasks import CLASSIFY
from janus_vit.sources.frames import BUILTIN, Sample, Source, open_source
from janus_vit.sources.motion import MOTION_LABELS, STYLE, motion_clips

DEFAULT_STRIDE = 4  # as in VideoMAE's training on Kinetics
_BUILTIN_CLIPS, _BUILTIN_SEED = 500, 1
_DRAWN_AT_ONCE = 50
_DIGIT_LABELS = tuple("0123456789")  # classes of the built-in frames


def open_stream(
    spec: str,
    clip_frames: int = 1,
    stride: int = DEFAULT_STRIDE,
    count: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> Source:
    """Open a source of frames or clips.

    Args:
        spec: name of the source, as in `open_source`.
        clip_frames: frames per clip; 1 for a model of images.
        stride: a clip takes every `stride`th frame.
        count: stop after this many frames or clips.
        warn: called once with a message for each image that is skipped because it cannot be read.

    Raises:
        InputError: the source cannot be read, or is too short for a clip.
    """
    if clip_frames == 1:
        return open_source(spec, count, warn)
    if spec == BUILTIN:
        return _builtin_clips(clip_frames, _BUILTIN_CLIPS if count is None else count)
    clips = _windows(open_source(spec, None, warn), clip_frames, stride)
    return clips if count is None else clips.first(count)


def true_label(sample: Sample, model: Model) -> int | None:
    """Return the true class of a built-in frame or clip, or None if the model has other classes than those."""
    knows = model.task == CLASSIFY and model.labels == builtin_labels(model.preprocessing.frames)
    return sample.label if knows else None


def builtin_labels(clip_frames: int) -> tuple[str, ...]:
    """Return the names of the classes of the built-in frames (`clip_frames` is 1) or clips."""
    return _DIGIT_LABELS if clip_frames == 1 else MOTION_LABELS


def _builtin_clips(frames: int, count: int) -> Source:
    """Draw `count` clips. The set repeats after its last clip."""
    style = replace(STYLE, frames=frames)

    def samples() -> Iterator[Sample]:
        for first in range(0, count, _DRAWN_AT_ONCE):
            clips, labels = motion_clips(_DRAWN_AT_ONCE, _BUILTIN_SEED + first % _BUILTIN_CLIPS, style=style)
            for index, (clip, label) in enumerate(zip(clips, labels, strict=True), start=first % _BUILTIN_CLIPS):
                yield Sample(f"{BUILTIN} clip {index}", clip, int(label))

    return Source(samples, None).first(count)


def _windows(source: Source, frames: int, stride: int) -> Source:
    """Cut a source into consecutive clips that do not overlap. Frames left at the end are dropped."""
    span = (frames - 1) * stride + 1

    def samples() -> Iterator[Sample]:
        kept: list[Sample] = []  # only the frames that the clip takes, to save memory
        clips = seen = within = 0
        for sample in source:
            if within % stride == 0:
                kept.append(sample)
            within, seen = within + 1, seen + 1
            if within < span:
                continue
            if len({each.frame.shape for each in kept}) > 1:
                raise InputError(
                    f"{sample.name}: the frames of one clip differ in size: use a video, or images of equal size"
                )
            yield Sample(f"{kept[0].name} and on", np.stack([each.frame for each in kept]), None, sample.captured_s)
            kept, within, clips = [], 0, clips + 1
        if not clips:
            raise InputError(
                f"the source has {seen} frames, but a clip of {frames} frames at stride {stride} needs {span}: "
                "use a longer video or a smaller --stride"
            )

    length = None if source.length is None else source.length // span
    return Source(samples, length or None, source.skipped, source.live)
