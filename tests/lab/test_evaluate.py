"""The answer for a whole video."""

import numpy as np
import pytest
import torch
from conftest import small_model

from janus_vit.errors import InputError
from janus_vit.lab.evaluate import video_logits
from janus_vit.model.engines.eager import EagerEngine


@pytest.fixture(scope="module")
def video_model():
    return small_model(frames=4, tubelet=2, pooling="mean", prefix=0, patch_size=16)


def test_logits_are_the_mean_over_clips_and_crops(video_model):
    engine = EagerEngine(video_model)
    video = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)
    views = [
        video[start : start + 8 : 2, :, left : left + 32] for start in (0, 2) for left in (0, 16)
    ]  # two clips at stride 2, two squares each
    merges = (0,) * video_model.shape.blocks
    outputs = []
    for view in views:
        pixels = video_model.preprocessing.normalise(view)
        outputs.append(engine.head(engine.run(engine.embed(pixels, merges), video_model.shape.blocks)))
    found = video_logits(video_model, engine, iter(video), stride=2, clips=2, crops=2)
    torch.testing.assert_close(found, torch.stack(outputs).mean(0))


def test_a_video_that_is_too_short_says_how_many_frames_it_needs(video_model):
    video = np.zeros((5, 32, 32, 3), np.uint8)
    with pytest.raises(InputError, match="has 5 frames and a clip of 4 frames at stride 2 needs 7"):
        video_logits(video_model, EagerEngine(video_model), iter(video), stride=2)
