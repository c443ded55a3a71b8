"""A whole video's answer, as video models are evaluated: the mean of the logits of several clips and crops."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from janus_vit.lab.clips import Frame, sample_clips, square_crops
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine


def video_logits(
    model: Model,
    engine: Engine,
    frames: Iterable[Frame],
    stride: int,
    clips: int = 5,
    crops: int = 3,
    merges: tuple[int, ...] | None = None,
) -> Tensor:
    """Logits [1, classes] of a video (VideoMAE reports 5 clips x 3 crops on Kinetics).

    Args:
        frames: of the whole video. stride: frames of the video from one frame of a clip to the next.
        clips: spread over the video. crops: squares spread over the longer side of each.
        merges: tokens that each block merges, none if left out.

    Raises:
        InputError: the video is too short for a clip.
    """
    merges = merges or (0,) * model.shape.blocks
    taken = sample_clips(frames, model.preprocessing.frames, stride, clips)
    outputs = []
    for view in (view for clip in taken for view in square_crops(clip, crops)):
        pixels = model.preprocessing.normalise(model.preprocessing.crop(view))
        outputs.append(engine.head(engine.run(engine.embed(pixels, merges), model.shape.blocks)))
    return torch.cat(outputs).mean(dim=0, keepdim=True)
