"""In built-in clips the digit moves as the label says, and no single frame shows which label it is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from importlib.resources import as_file, files

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_vit.errors import InputError
from janus_vit.sources import motion
from janus_vit.sources.motion import GLYPHS_FILE, MOTION_LABELS, STYLE, motion_clips

PLAIN = replace(STYLE, others=0, bar_pixels=(0, 0), texture=0.0, noise=0.0, unrest=0.0)  # the digit alone


plain_clips = cache(partial(motion_clips, style=PLAIN))  # the tests of all classes look at the same clips


def ink_of(label: str) -> NDArray[np.float64]:
    """Draw clips [n, T, S, S] of one class with the digit alone on black."""
    clips, labels = plain_clips(400, 1)
    chosen = clips[labels == MOTION_LABELS.index(label), ..., 0].astype(float)
    return chosen - chosen.min(axis=(1, 2, 3), keepdims=True)


def centre(ink: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the position of the ink along an axis that wraps around, in pixels: [n, T]."""
    along = ink.sum(axis=5 - axis)
    phase = np.exp(2j * np.pi * np.arange(STYLE.size) / STYLE.size)
    return np.asarray(np.angle(along @ phase) * STYLE.size / (2 * np.pi))


def steps(values: NDArray[np.float64], around: float) -> NDArray[np.float64]:
    """Return the median change per frame of each clip, the short way around: [n]."""
    change = np.diff(values, axis=1)
    return np.median((change + around / 2) % around - around / 2, axis=1)


def tilt(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the direction of the ink's long side, clockwise in radians, modulo half a turn: [n, T]."""
    angles = np.empty(ink.shape[:2])
    along = np.arange(STYLE.size) - STYLE.size // 2
    for place, frame in zip(np.ndindex(ink.shape[:2]), ink.reshape(-1, STYLE.size, STYLE.size), strict=True):
        shift = [-round(float(centre(frame[None, None], axis)[0, 0])) + STYLE.size // 2 for axis in (2, 3)]
        moved = np.roll(frame, shift, (0, 1))
        down, right = (moved * along[:, None]).sum(), (moved * along).sum()
        rows, columns = along[:, None] - down / moved.sum(), along - right / moved.sum()
        angles[place] = np.arctan2(2 * (moved * rows * columns).sum(), (moved * (columns**2 - rows**2)).sum()) / 2
    return angles


@pytest.mark.parametrize(("label", "axis", "sign"), [("left", 3, -1), ("right", 3, 1), ("up", 2, -1), ("down", 2, 1)])
def test_digit_goes_where_the_label_says(label: str, axis: int, sign: int) -> None:
    ink = ink_of(label)
    along, across = (sign * steps(centre(ink, one), STYLE.size) for one in (axis, 5 - axis))
    assert along.min() > STYLE.speed[0] - 0.2
    assert along.max() < STYLE.speed[1] + 0.2
    assert np.abs(across).max() < 0.2


@pytest.mark.parametrize(("label", "sign"), [("turn clockwise", 1), ("turn counter-clockwise", -1)])
def test_digit_turns_as_the_label_says(label: str, sign: int) -> None:
    turned = sign * steps(tilt(ink_of(label)), np.pi)
    assert (turned > STYLE.turn[0] / 2).mean() > 0.9  # the rest are as good as round


@pytest.mark.parametrize(("label", "sign"), [("grow", 1), ("shrink", -1)])
def test_digit_changes_its_size_as_the_label_says(label: str, sign: int) -> None:
    ink = ink_of(label)
    change = sign * np.median(np.diff(np.log(ink.sum(axis=(2, 3))), axis=1), axis=1)
    assert change.min() > 0.02


def test_no_single_frame_tells_the_class() -> None:
    clips, labels = motion_clips(1600, 2, style=PLAIN)
    ink = clips[..., 0].astype(float)
    ink -= ink.min(axis=(1, 2, 3), keepdims=True)
    for frame in (0, STYLE.frames - 1):
        shown = ink[:, frame]
        amounts = np.stack([shown.sum(axis=(1, 2)), shown[:, :24].sum(axis=(1, 2)), shown[..., :24].sum(axis=(1, 2))])
        for values in amounts:
            means = np.array([values[labels == label].mean() for label in range(len(MOTION_LABELS))])
            spread = values.std() / np.sqrt(len(labels) / len(MOTION_LABELS))
            assert np.abs(means - values.mean()).max() < 4 * spread


def test_equal_seeds_give_equal_clips() -> None:
    once, again, other = motion_clips(10, 3), motion_clips(10, 3), motion_clips(10, 4)
    assert np.array_equal(once[0], again[0])
    assert np.array_equal(once[1], again[1])
    assert not np.array_equal(once[0], other[0])
    assert not np.array_equal(once[0], motion_clips(10, 3, training=True)[0])


@pytest.mark.parametrize("count", [1, 8, 63, 64, 130])
def test_classes_are_equally_often(count: int) -> None:
    clips, labels = motion_clips(count, 0)
    often = np.bincount(labels, minlength=len(MOTION_LABELS))
    assert clips.shape == (count, STYLE.frames, STYLE.size, STYLE.size, 3)
    assert clips.dtype == np.uint8
    assert (clips[..., 0] == clips[..., 2]).all()
    assert often.max() - often.min() <= 1


def test_other_sizes_are_drawn() -> None:
    clips, _ = motion_clips(3, 0, style=replace(STYLE, frames=16, size=64))
    assert clips.shape == (3, 16, 64, 64, 3)


def test_held_out_glyphs_are_not_among_those_for_training() -> None:
    with as_file(files("janus_vit") / "data" / GLYPHS_FILE) as path:
        assert path.stat().st_size < 60_000
        with np.load(path) as arrays:
            train, test = ({glyph.tobytes() for glyph in arrays[name]} for name in ("train", "test"))
            assert len(train) == len(arrays["train"]) >= 500
            assert "CC BY 4.0" in str(arrays["attribution"])
    assert len(test) >= 100
    assert not train & test


def test_missing_glyphs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion, "GLYPHS_FILE", "none.npz")
    motion._load_glyphs.cache_clear()
    with pytest.raises(InputError, match=r"none\.npz cannot be read from the package"):
        motion_clips(1, 0)
