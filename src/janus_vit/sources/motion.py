"""Built-in clips: a handwritten digit that moves over clutter, and the class is how. Knows no model.

No single frame tells the class: place, angle and size begin anywhere and wrap around, at the borders, after a whole
turn, and between the largest and the smallest size, so that in any one frame the digit stands here or there as likely
whatever it is about to do. Smaller and fainter digits move in ways of their own, and a bar hides a part.
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

# label -> direction of each kind of motion; rows grow downwards
_DOWN = np.array([0, 0, -1, 1, 0, 0, 0, 0], np.float32)
_RIGHT = np.array([-1, 1, 0, 0, 0, 0, 0, 0], np.float32)
_TURN = np.array([0, 0, 0, 0, 1, -1, 0, 0], np.float32)
_GROWTH = np.array([0, 0, 0, 0, 0, 0, 1, -1], np.float32)

_GLYPH_SIDE = 8  # pixels of a source glyph
_GLYPH_WHITE = np.float32(16)  # largest value of a source glyph
_DRAWN_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class MotionStyle:
    """How clips look and how hard they are. Pairs are the smallest and the largest.

    Attributes:
        frames, size: of a clip, and height and width of each in pixels.
        digit_pixels: side of the digit, with every size between them as likely on a logarithmic scale.
        speed: of a digit that goes somewhere, in pixels a frame.
        turn: of a digit that turns, in radians a frame.
        growth: of a digit that grows, in shares of the way from the smallest size to the largest a frame.
        unrest: standard deviation of the slow motion of all kinds that each digit adds to its own, relative to the
            largest motion of that kind.
        contrast: brightness of the digit above the background, 0 to 1.
        others: how many other digits move.
        lesser: side and brightness of these relative to the digit's.
        bar_pixels: sides of the bar that hides a part.
        texture: spread of the smooth background.
        noise: standard deviation of each pixel's noise, 0 to 1.
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
    """Clips with every class about equally often; equal arguments give equal clips.

    Args:
        training: draw from the glyphs for training instead of the held-out ones.

    Returns:
        clips [n, T, S, S, 3] uint8 whose three channels are equal, and labels [n], indices into `MOTION_LABELS`.

    Raises:
        InputError: the glyphs are missing from the package or damaged.
    """
    glyphs = _load_glyphs()[0 if training else 1]
    parts = list(_draw(count, np.random.default_rng((seed, training)), glyphs, style))
    grey = np.concatenate([clips for clips, _ in parts])
    return np.repeat(grey[..., None], 3, axis=-1), np.concatenate([labels for _, labels in parts])


@cache
def _load_glyphs() -> tuple[Floats, Floats]:
    """Glyphs [n, 10, 10] for training and held-out ones, 0 to 1, with an empty border."""
    try:
        with (files("janus_vit") / "data" / GLYPHS_FILE).open("rb") as file, np.load(file) as arrays:
            return _padded(arrays["train"]), _padded(arrays["test"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{GLYPHS_FILE} cannot be read from the package ({error}): install it again") from error


def _padded(glyphs: NDArray[np.uint8]) -> Floats:
    return np.pad(glyphs.astype(np.float32), ((0, 0), (1, 1), (1, 1))) / _GLYPH_WHITE


def _draw(
    count: int, rng: np.random.Generator, glyphs: Floats, style: MotionStyle
) -> Iterator[tuple[NDArray[np.uint8], Labels]]:
    """Grey clips [n, T, S, S] and their labels, a few at once."""
    for start in range(0, count, _DRAWN_AT_ONCE):
        number = min(_DRAWN_AT_ONCE, count - start)
        labels = rng.permutation(np.arange(start, start + number) % len(MOTION_LABELS))
        yield _compose(rng, labels, glyphs, style), labels


def _compose(rng: np.random.Generator, labels: Labels, glyphs: Floats, style: MotionStyle) -> NDArray[np.uint8]:
    """Grey clips [n, T, S, S]."""
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
    """Row, column, angle (clockwise, in radians) and side (all others in pixels) in each frame: [4, n, T]."""
    count = len(labels)
    around = np.array([style.size, style.size, 2 * np.pi, 1.0])[:, None]  # after which each is the same again
    fastest = np.array([style.speed[1], style.speed[1], style.turn[1], style.growth[1]])[:, None]
    change = rng.standard_normal((4, count)) * style.unrest * fastest
    for row, (way, bounds) in enumerate(
        ((_DOWN, style.speed), (_RIGHT, style.speed), (_TURN, style.turn), (_GROWTH, style.growth))
    ):
        change[row] += way[labels] * _between(rng, bounds, count)
    start = rng.uniform(0, 1, (4, count)) * around
    poses = (start[..., None] + change[..., None] * np.arange(style.frames)) % around[..., None]
    smallest, largest = style.digit_pixels
    poses[3] = smallest * (largest / smallest) ** poses[3]
    return np.asarray(poses, np.float32)


def _paint(ink: Floats, glyphs: Floats, poses: Floats, brightness: Floats) -> None:
    """Lay glyphs [n, 10, 10] on the ink [n, T, S, S] so that the brighter of the two stays."""
    size = ink.shape[2]
    reach = int(np.ceil(float(poses[3].max()) * 0.75))  # a little more than half a diagonal
    steps = np.arange(-reach, reach + 1)
    middle = np.rint(poses[:2]).astype(np.intp)  # [2, n, T]
    rows, columns = (steps - (place - whole)[..., None] for place, whole in zip(poses[:2], middle, strict=True))
    patches = _turned(glyphs, rows, columns, poses[2], poses[3]) * brightness[:, None, None, None]
    clip = np.arange(len(ink))[:, None, None, None]
    frame = np.arange(ink.shape[1])[:, None, None]
    at_rows, at_columns = ((place[..., None] + steps) % size for place in middle)
    where = clip, frame, at_rows[..., :, None], at_columns[..., None, :]
    ink[where] = np.maximum(ink[where], patches)


def _turned(glyphs: Floats, rows: Floats, columns: Floats, angle: Floats, side: Floats) -> Floats:
    """Bilinear samples [n, T, P, P] of glyphs at offsets from their middles, [n, T, P] down and to the right."""
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
    """Smooth textures [n, S, S] that stand still."""
    knots = 7
    at = np.linspace(0, knots - 1, style.size, dtype=np.float32)[:, None]
    weights = np.clip(1 - np.abs(at - np.arange(knots, dtype=np.float32)), 0, 1)
    heights = rng.standard_normal((count, knots, knots)).astype(np.float32) * np.float32(style.texture)
    return np.asarray(weights @ heights @ weights.T + _between(rng, (0.15, 0.35), count)[:, None, None], np.float32)


def _hide(rng: np.random.Generator, canvas: Floats, style: MotionStyle) -> None:
    """Put a bar of one brightness before each clip; it stands still, and wraps around as all else does."""
    count, size = len(canvas), style.size
    low, high = style.bar_pixels
    inside = [
        (np.arange(size) - rng.integers(0, size, count)[:, None]) % size < rng.integers(low, high + 1, count)[:, None]
        for _ in range(2)
    ]
    hidden = inside[0][:, :, None] & inside[1][:, None, :]  # [n, S, S]
    canvas[...] = np.where(hidden[:, None], _between(rng, (0.1, 0.6), count)[:, None, None, None], canvas)
