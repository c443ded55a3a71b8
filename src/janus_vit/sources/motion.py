"""Draw the built-in clips: a handwritten digit moves over clutter, and its motion is the class. Knows no model.

No single frame shows the class. Position, angle and size start at random and wrap around: at the borders, after a full
turn, and between the largest and the smallest size. In any one frame, every position is equally likely for every class.
Smaller and fainter digits move in other ways, and a bar hides a part of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError

GLYPHS_FILE = "motion-glyphs.npz"
MOTION_LABELS = (
    "left",
    "right",
    "up",
    "down",
    "turn clockwise",
    "turn counter-clockwise",
    "grow",
    "shrink",
)

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

# Direction of each kind of motion, by label. Rows grow downwards.
_DOWN = np.array([0, 0, -1, 1, 0, 0, 0, 0], np.float32)
_RIGHT = np.array([-1, 1, 0, 0, 0, 0, 0, 0], np.float32)
_TURN = np.array([0, 0, 0, 0, 1, -1, 0, 0], np.float32)
_GROWTH = np.array([0, 0, 0, 0, 0, 0, 1, -1], np.float32)

_GLYPH_SIDE = 8  # pixels of a source glyph
_GLYPH_WHITE = np.float32(16)  # largest value of a source glyph
_DRAWN_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class MotionStyle:
    """How clips look and how hard they are. Each pair is a smallest and a largest value.

    Attributes:
        frames: number of frames in a clip.
        size: height and width of a frame in pixels.
        digit_pixels: side of the digit; sizes are uniform on a logarithmic scale.
        speed: speed of a digit that moves along a side, in pixels per frame.
        turn: speed of a digit that turns, in radians per frame.
        growth: growth per frame, as a share of the range from the smallest to the largest size.
        unrest: standard deviation of the slow extra motion of every digit, relative to the largest motion of that kind.
        contrast: brightness of the digit above the background, 0 to 1.
        others: number of other digits that move.
        lesser: side and brightness of the other digits, relative to the main digit.
        bar_pixels: sides of the bar that hides a part of the picture.
        texture: standard deviation of the smooth background.
        noise: standard deviation of the pixel noise, 0 to 1.
    """

    frames: int = 8
    size: int = 48
    digit_pixels: tuple[float, float] = (15.0, 26.0)
    speed: tuple[float, float] = (1.0, 2.5)
    turn: tuple[float, float] = (0.2, 0.45)
    growth: tuple[float, float] = (0.05, 0.1)
    unrest: float = 0.06
    contrast: tuple[float, float] = (0.45, 0.75)
    others: int = 2
    lesser: tuple[float, float] = (0.4, 0.65)
    bar_pixels: tuple[int, int] = (8, 18)
    texture: float = 0.08
    noise: float = 0.06


STYLE = MotionStyle()


def motion_clips(
    count: int, seed: int, *, training: bool = False, style: MotionStyle = STYLE
) -> tuple[NDArray[np.uint8], Labels]:
    """Draw clips with about equally many of every class. Equal arguments give equal clips.

    Args:
        count: number of clips.
        seed: seed of the random generator.
        training: use the training glyphs instead of the held-out ones.
        style: how the clips look.

    Returns:
        Clips [n, T, S, S, 3] uint8 with three equal channels, and labels [n], indices into `MOTION_LABELS`.

    Raises:
        InputError: the glyphs are missing from the package or damaged.
    """
    glyphs = _load_glyphs()[0 if training else 1]
    parts = list(_draw(count, np.random.default_rng((seed, training)), glyphs, style))
    grey = np.concatenate([clips for clips, _ in parts])
    return np.repeat(grey[..., None], 3, axis=-1), np.concatenate([labels for _, labels in parts])


@cache
def _load_glyphs() -> tuple[Floats, Floats]:
    """Read training and held-out glyphs, [n, 10, 10] with values 0 to 1 and an empty border."""
    try:
        with (files("janus_vit") / "data" / GLYPHS_FILE).open("rb") as file, np.load(file) as arrays:
            return _padded(arrays["train"]), _padded(arrays["test"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{GLYPHS_FILE} cannot be read from the package ({error}): reinstall janus-vit") from error


def _padded(glyphs: NDArray[np.uint8]) -> Floats:
    return np.pad(glyphs.astype(np.float32), ((0, 0), (1, 1), (1, 1))) / _GLYPH_WHITE


def _draw(
    count: int, rng: np.random.Generator, glyphs: Floats, style: MotionStyle
) -> Iterator[tuple[NDArray[np.uint8], Labels]]:
    """Draw grey clips [n, T, S, S] and their labels in small groups, to limit memory."""
    for start in range(0, count, _DRAWN_AT_ONCE):
        number = min(_DRAWN_AT_ONCE, count - start)
        labels = rng.permutation(np.arange(start, start + number) % len(MOTION_LABELS))
        yield _compose(rng, labels, glyphs, style), labels


def _compose(rng: np.random.Generator, labels: Labels, glyphs: Floats, style: MotionStyle) -> NDArray[np.uint8]:
    """Draw one grey clip per label: [n, T, S, S]."""
    count = len(labels)
    ink = np.zeros((count, style.frames, style.size, style.size), np.float32)
    contrast = _between(rng, style.contrast, count)
    for other in range(style.others + 1):
        moves = labels if other == 0 else rng.integers(0, len(MOTION_LABELS), count)
        poses, bright = _poses(rng, moves, style), contrast
        if other > 0:
            poses[3] *= _between(rng, style.lesser, count)[:, None]
            bright = contrast * _between(rng, style.lesser, count)
        _paint(ink, glyphs[rng.integers(0, len(glyphs), count)], poses, bright)
    canvas = _background(rng, count, style)[:, None] + ink
    _hide(rng, canvas, style)
    canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(style.noise)
    return np.asarray(np.rint(np.clip(canvas, 0, 1) * 255), np.uint8)


def _between(rng: np.random.Generator, bounds: tuple[float, float], count: int) -> Floats:
    return rng.uniform(*bounds, count).astype(np.float32)


def _poses(rng: np.random.Generator, labels: Labels, style: MotionStyle) -> Floats:
    """Draw row, column, angle and side of the digit in each frame: [4, n, T], pixels and radians (clockwise)."""
    count = len(labels)
    period = np.array([style.size, style.size, 2 * np.pi, 1.0])[:, None]  # where each of the four wraps around
    fastest = np.array([style.speed[1], style.speed[1], style.turn[1], style.growth[1]])[:, None]
    change = rng.standard_normal((4, count)) * style.unrest * fastest
    for row, (direction, bounds) in enumerate(
        ((_DOWN, style.speed), (_RIGHT, style.speed), (_TURN, style.turn), (_GROWTH, style.growth))
    ):
        change[row] += direction[labels] * _between(rng, bounds, count)
    start = rng.uniform(0, 1, (4, count)) * period
    poses = (start[..., None] + change[..., None] * np.arange(style.frames)) % period[..., None]
    smallest, largest = style.digit_pixels
    poses[3] = smallest * (largest / smallest) ** poses[3]
    return np.asarray(poses, np.float32)


def _paint(ink: Floats, glyphs: Floats, poses: Floats, brightness: Floats) -> None:
    """Draw glyphs [n, 10, 10] on the ink [n, T, S, S]. The brighter of the two stays."""
    size = ink.shape[2]
    reach = int(np.ceil(float(poses[3].max()) * 0.75))  # a little more than half a diagonal
    steps = np.arange(-reach, reach + 1)
    middle = np.rint(poses[:2]).astype(np.intp)  # [2, n, T]
    rows, columns = (steps - (place - whole)[..., None] for place, whole in zip(poses[:2], middle, strict=True))
    patches = _sample_turned(glyphs, rows, columns, poses[2], poses[3]) * brightness[:, None, None, None]
    clip = np.arange(len(ink))[:, None, None, None]
    frame = np.arange(ink.shape[1])[:, None, None]
    at_rows, at_columns = ((place[..., None] + steps) % size for place in middle)
    where = clip, frame, at_rows[..., :, None], at_columns[..., None, :]
    ink[where] = np.maximum(ink[where], patches)


def _sample_turned(glyphs: Floats, rows: Floats, columns: Floats, angle: Floats, side: Floats) -> Floats:
    """Sample scaled and turned glyphs bilinearly.

    Args:
        glyphs: [n, 10, 10].
        rows: offsets from the middle of the glyph, downwards in pixels, [n, T, P].
        columns: offsets from the middle of the glyph, to the right in pixels, [n, T, P].
        angle: clockwise rotation in radians, [n, T].
        side: side of the glyph in pixels, [n, T].

    Returns:
        Brightness, [n, T, P, P].
    """
    cos, sin = (turn(angle)[..., None, None] for turn in (np.cos, np.sin))
    down, right = rows[..., :, None], columns[..., None, :]
    scale = (_GLYPH_SIDE / side)[..., None, None]
    padded = glyphs.shape[1]
    middle, last = np.float32((padded - 1) / 2), np.float32(padded - 1.001)
    y = np.clip((cos * down - sin * right) * scale + middle, 0, last)
    x = np.clip((sin * down + cos * right) * scale + middle, 0, last)
    top, left = y.astype(np.intp), x.astype(np.intp)
    low, across = y - top, x - left
    at = (np.arange(len(glyphs))[:, None, None, None] * padded + top) * padded + left
    flat = glyphs.ravel()
    upper = flat[at] * (1 - across) + flat[at + 1] * across
    lower = flat[at + padded] * (1 - across) + flat[at + padded + 1] * across
    return np.asarray(upper * (1 - low) + lower * low, np.float32)


def _background(rng: np.random.Generator, count: int, style: MotionStyle) -> Floats:
    """Draw smooth textures that do not move: [n, S, S]."""
    knots = 7
    at = np.linspace(0, knots - 1, style.size, dtype=np.float32)[:, None]
    weights = np.clip(1 - np.abs(at - np.arange(knots, dtype=np.float32)), 0, 1)
    heights = rng.standard_normal((count, knots, knots)).astype(np.float32) * np.float32(style.texture)
    return np.asarray(weights @ heights @ weights.T + _between(rng, (0.15, 0.35), count)[:, None, None], np.float32)


def _hide(rng: np.random.Generator, canvas: Floats, style: MotionStyle) -> None:
    """Cover a part of each clip with a bar of uniform brightness that does not move and wraps around the borders."""
    count, size = len(canvas), style.size
    low, high = style.bar_pixels
    inside = [
        (np.arange(size) - rng.integers(0, size, count)[:, None]) % size < rng.integers(low, high + 1, count)[:, None]
        for _ in range(2)
    ]
    hidden = inside[0][:, :, None] & inside[1][:, None, :]  # [n, S, S]
    canvas[...] = np.where(hidden[:, None], _between(rng, (0.1, 0.6), count)[:, None, None, None], canvas)
