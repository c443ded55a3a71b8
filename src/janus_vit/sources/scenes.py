"""Draw cluttered scenes of handwritten digits: one large digit among fragments of others, strokes, blobs and noise.

The clutter follows Mnih et al., "Recurrent Models of Visual Attention" (NeurIPS 2014). Takes and returns arrays; knows
no data set and no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]  # intensities, 0 is black and 1 is white
Place = NDArray[np.float64]  # row and column in pixels

_DIGIT_SIDE = 8  # pixels of a source digit
_DIGIT_WHITE = np.float32(16)  # largest value of a source digit
_GREYS = 16  # few grey levels, so that many scenes compress into a small file


@dataclass(frozen=True, slots=True)
class SceneStyle:
    """How scenes look and how hard they are. Each pair is a smallest and a largest value.

    Attributes:
        size: height and width of a scene in pixels.
        digit_pixels: side of the digit.
        jitter: largest distance of the digit from the middle along each side, in pixels.
        contrast: brightness of the digit above the background, 0 to 1.
        weight: exponent of the digit's brightness; below 1 makes it bold, above 1 thin.
        tilt: largest rotation in either direction, in radians.
        shear: largest horizontal shear in either direction, in pixels per pixel.
        fragments: number of fragments of other digits.
        strokes: number of straight strokes.
        faint: brightness of the clutter relative to the digit.
        blobs: number of soft blobs.
        texture: standard deviation of the smooth background.
        noise: standard deviation of the pixel noise, 0 to 1.
    """

    size: int = 64
    digit_pixels: tuple[int, int] = (40, 54)
    jitter: float = 4.0
    contrast: tuple[float, float] = (0.5, 0.8)
    weight: tuple[float, float] = (0.6, 1.5)
    tilt: float = 0.25
    shear: float = 0.2
    fragments: tuple[int, int] = (2, 4)
    strokes: tuple[int, int] = (1, 2)
    faint: tuple[float, float] = (0.3, 0.6)
    blobs: tuple[int, int] = (1, 3)
    texture: float = 0.07
    noise: float = 0.04


STYLE = SceneStyle()


def compose_scene(
    rng: np.random.Generator,
    digit: NDArray[np.generic],
    clutter: NDArray[np.generic],
    style: SceneStyle = STYLE,
) -> NDArray[np.uint8]:
    """Draw one scene. Equal generators give equal scenes.

    Args:
        rng: random generator.
        digit: the digit to read, [8, 8] with values 0 to 16.
        clutter: digits from which the fragments are cut, [n, 8, 8] with values 0 to 16.
        style: how the scene looks.

    Returns:
        A grey image, uint8 [S, S].
    """
    ink = np.zeros((style.size, style.size), np.float32)
    brightness = rng.uniform(*style.contrast)
    pieces = _fragments(rng, clutter, _between(rng, style.fragments))
    side = rng.uniform(*style.digit_pixels)
    places = rng.uniform(0, style.size, (len(pieces), 2))
    for patch, place in zip(_warp(rng, pieces, np.full(len(pieces), side), style), places, strict=True):
        _paint(ink, patch * np.float32(brightness * rng.uniform(*style.faint)), place)
    _draw_strokes(rng, ink, brightness, style)
    middle = style.size / 2 + rng.uniform(-style.jitter, style.jitter, 2)
    target = (np.asarray(digit, np.float32)[None] / _DIGIT_WHITE) ** np.float32(rng.uniform(*style.weight))
    _paint(ink, _warp(rng, target, np.array([side]), style)[0] * np.float32(brightness), middle)
    canvas = _background(rng, style) + ink
    canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(style.noise)
    levels = np.clip(np.rint(canvas * (_GREYS - 1)), 0, _GREYS - 1).astype(np.uint8)
    return np.asarray(levels * np.uint8(255 // (_GREYS - 1)))


def _background(rng: np.random.Generator, style: SceneStyle) -> Grey:
    """Draw a smooth texture with soft bright and dark blobs: [S, S]."""
    knots = (rng.standard_normal((6, 6)) * style.texture).astype(np.float32)
    weights = _interpolation(style.size, 6)
    canvas = (weights @ knots @ weights.T + np.float32(rng.uniform(0.15, 0.35))).astype(np.float32)
    along = np.arange(style.size, dtype=np.float32)
    for _ in range(_between(rng, style.blobs)):
        row, column = rng.uniform(0, style.size, 2)
        reach = rng.uniform(3, 10)
        bump = np.exp(-(((along - row) / reach) ** 2))[:, None] * np.exp(-(((along - column) / reach) ** 2))
        canvas += (rng.uniform(-0.15, 0.25) * bump).astype(np.float32)
    return canvas


def _interpolation(size: int, knots: int) -> Grey:
    """Return weights [size, knots] that interpolate linearly between knots."""
    at = np.linspace(0, knots - 1, size, dtype=np.float32)[:, None]
    weights: Grey = np.clip(1 - np.abs(at - np.arange(knots, dtype=np.float32)), 0, 1)
    return weights


def _between(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """Draw a whole number, bounds included."""
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _fragments(rng: np.random.Generator, clutter: NDArray[np.generic], count: int) -> Grey:
    """Cut a part of random digits and move it to the middle: [count, 8, 8]."""
    chosen = np.asarray(clutter[rng.integers(0, len(clutter), count)], np.float32) / _DIGIT_WHITE
    pieces: Grey = np.zeros_like(chosen)
    for piece, source in zip(pieces, chosen, strict=True):
        height, width = rng.integers(3, 5, 2)
        top, left = rng.integers(0, _DIGIT_SIDE - height + 1), rng.integers(0, _DIGIT_SIDE - width + 1)
        to_top, to_left = (_DIGIT_SIDE - height) // 2, (_DIGIT_SIDE - width) // 2
        piece[to_top : to_top + height, to_left : to_left + width] = source[top : top + height, left : left + width]
    return pieces


def _warp(rng: np.random.Generator, sources: Grey, sides: NDArray[np.float64], style: SceneStyle) -> Grey:
    """Scale sources [n, 8, 8] to sides [n], tilt and shear them: patches [n, P, P] with the digit in the middle."""
    count, reach = len(sources), int(np.ceil(sides.max() * 0.6))
    along = np.arange(-reach, reach + 1, dtype=np.float32)
    scale = (_DIGIT_SIDE / sides).astype(np.float32)[:, None, None]
    angle = rng.uniform(-style.tilt, style.tilt, count).astype(np.float32)[:, None, None]
    shear = rng.uniform(-style.shear, style.shear, count).astype(np.float32)[:, None, None]
    down, right = along[None, :, None] * scale, along[None, None, :] * scale
    rows = np.cos(angle) * down - np.sin(angle) * right
    columns = np.sin(angle) * down + np.cos(angle) * right + shear * rows
    padded = np.pad(sources, ((0, 0), (2, 2), (2, 2)))  # a digit is empty beyond its edge
    middle = (_DIGIT_SIDE - 1) / 2 + 2
    return _sample(padded, rows + np.float32(middle), columns + np.float32(middle))


def _sample(images: Grey, rows: Grey, columns: Grey) -> Grey:
    """Sample images [n, H, W] bilinearly at rows and columns [n, P, P], which are clipped to the images."""
    height, width = images.shape[1:]
    rows, columns = np.clip(rows, 0, height - 1.001), np.clip(columns, 0, width - 1.001)
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    low, across = rows - top, columns - left
    at = (np.arange(len(images))[:, None, None] * height + top) * width + left
    flat = images.ravel()
    upper = flat[at] * (1 - across) + flat[at + 1] * across
    lower = flat[at + width] * (1 - across) + flat[at + width + 1] * across
    samples: Grey = (upper * (1 - low) + lower * low).astype(np.float32)
    return samples


def _paint(ink: Grey, patch: Grey, middle: Place) -> None:
    """Draw a patch on the ink. The brighter of the two stays, and parts outside the image are cut off."""
    reach, size = patch.shape[0] // 2, ink.shape[0]
    top, left = (round(float(place)) - reach for place in middle)
    rows = slice(max(top, 0), min(top + patch.shape[0], size))
    columns = slice(max(left, 0), min(left + patch.shape[1], size))
    part = patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    np.maximum(ink[rows, columns], part, out=ink[rows, columns])


def _draw_strokes(rng: np.random.Generator, ink: Grey, brightness: float, style: SceneStyle) -> None:
    """Draw short straight strokes of a pen's width."""
    along = np.arange(style.size, dtype=np.float32)
    for _ in range(_between(rng, style.strokes)):
        row, column = rng.uniform(0, style.size, 2)
        angle, half, width = rng.uniform(0, np.pi), rng.uniform(5, 11), rng.uniform(1.2, 2.5)
        down, right = (along - row)[:, None], (along - column)[None, :]
        lengthwise = np.abs(down * np.sin(angle) + right * np.cos(angle))
        sideways = down * np.cos(angle) - right * np.sin(angle)
        stroke = np.exp(-((sideways / width) ** 2)) * np.clip(half - lengthwise, 0, 1)
        np.maximum(ink, (brightness * rng.uniform(*style.faint) * stroke).astype(np.float32), out=ink)
