"""A source gives frames or clips, as the model needs."""

import numpy as np
import pytest
from PIL import Image

from janus_vit.errors import InputError
from janus_vit.sources.streams import open_stream


@pytest.fixture
def folder(tmp_path):
    for index in range(14):
        Image.fromarray(np.full((20, 30, 3), index, np.uint8)).save(tmp_path / f"{index:02}.png")
    return tmp_path


def first_pixels(clip):
    return [int(frame[0, 0, 0]) for frame in clip]


def test_an_image_model_gets_single_frames(folder):
    assert [first_pixels([sample.frame])[0] for sample in open_stream(str(folder))] == list(range(14))


def test_a_video_model_gets_consecutive_clips(folder):
    stream = open_stream(str(folder), clip_frames=3, stride=2)
    assert [first_pixels(sample.frame) for sample in stream] == [[0, 2, 4], [5, 7, 9]]
    assert stream.length == 2


def test_count_limits_the_clips(folder):
    assert len(list(open_stream(str(folder), clip_frames=2, stride=1, count=3))) == 3


def test_too_few_frames_for_one_clip_are_refused(folder):
    with pytest.raises(InputError, match="the source has 14 frames, but a clip of 8 frames at stride 4 needs 29"):
        list(open_stream(str(folder), clip_frames=8))


def test_frames_of_different_sizes_make_no_clip(folder):
    Image.new("RGB", (5, 5)).save(folder / "01.png")
    with pytest.raises(InputError, match="differ in size"):
        list(open_stream(str(folder), clip_frames=2, stride=1))


def test_built_in_clips_have_labels_and_the_models_length():
    samples = list(open_stream("builtin", clip_frames=4, count=60))
    assert {sample.frame.shape[0] for sample in samples} == {4}
    assert all(sample.label is not None for sample in samples)
    again = list(open_stream("builtin", clip_frames=4, count=60))
    assert all(np.array_equal(one.frame, two.frame) for one, two in zip(samples, again, strict=True))


def test_built_in_clips_start_again_when_more_are_wanted():
    samples = list(open_stream("builtin", clip_frames=2, count=501))
    assert len(samples) == 501
    assert np.array_equal(samples[500].frame, samples[0].frame)
