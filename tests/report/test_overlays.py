"""Overlays of dense answers over their frame."""

import numpy as np

from janus_vit.planning.dense_answers.values import Box, KeyPoint, pack_classes, pack_map
from janus_vit.planning.outcome import Answer
from janus_vit.report.overlays import overlay

FRAME = np.full((60, 80, 3), 128, np.uint8)


def drawn(**answer):
    return np.asarray(overlay(FRAME, Answer((), (), **answer), ("cat", "dog"), is_classes=False))


def test_depth_goes_from_blue_to_red():
    ramp = np.linspace(0, 1, 80, dtype=np.float32)[None, None].repeat(60, 1)
    picture = drawn(map=pack_map(ramp, 16)).astype(int)
    assert picture.shape == FRAME.shape
    assert picture[30, 10, 2] > picture[30, 10, 0]
    assert picture[30, 78, 0] > picture[30, 78, 2]


def test_features_are_coloured_by_their_main_components():
    noise = np.random.default_rng(0).standard_normal((12, 6, 8)).astype(np.float32)
    noise[:, :, 4:] += 5
    picture = drawn(map=pack_map(noise, 8)).astype(int)
    assert np.abs(picture[:, :40].mean((0, 1)) - picture[:, 40:].mean((0, 1))).max() > 30


def test_each_class_has_a_colour():
    classes = np.zeros((6, 8), int)
    classes[:, 4:] = 3
    answer = Answer((), (), map=pack_classes(classes, 8))
    picture = np.asarray(overlay(FRAME, answer, is_classes=True))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 2


def test_boxes_and_key_points_are_where_they_belong():
    boxed = drawn(boxes=(Box(1, 0.9, 0.25, 0.5, 0.75, 0.9), Box(0, 0.1, 0, 0, 1, 1)))
    assert (boxed[30:54, 20] != 128).any(axis=-1).all()
    assert (boxed[:20] == 128).all()
    pointed = drawn(keypoints=(KeyPoint(0.5, 0.5, 1.0),))
    assert (pointed[30, 40] != 128).any()
    assert (pointed[:20] == 128).all()
