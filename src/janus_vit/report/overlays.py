"""Draw the answer of a dense model over its frame, so that a person sees it. Knows no model and no stream."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from janus_vit.planning.dense_answers.values import Box, DenseMap, KeyPoint
from janus_vit.planning.outcome import DEFAULT_THRESHOLD, Answer

Pixels = NDArray[np.uint8]

# From low to high: dark blue, blue, green, yellow, red.
_SCALE = np.array([(48, 18, 59), (70, 107, 227), (40, 187, 236), (164, 252, 60), (251, 126, 33), (122, 4, 3)], float)
_STRENGTH = 0.6  # of the map over the frame
_GOLDEN = 0.61803398875  # neighbouring classes get hues far apart
_LINE = 3  # pixels


def overlay(frame: Pixels, answer: Answer, labels: tuple[str, ...] = (), is_classes: bool = False) -> Image.Image:
    """Return the frame with the answer drawn over it.

    Args:
        frame: RGB image [H, W, 3] that the answer covers.
        answer: a map, boxes or key points.
        labels: names of the classes.
        is_classes: whether the codes of the map are classes.
    """
    image = Image.fromarray(frame)
    if answer.map is not None:
        colours = class_colours(answer.map) if is_classes else map_colours(answer.map)
        over = Image.fromarray(colours).resize(image.size, Image.Resampling.NEAREST)
        image = Image.blend(image, over, _STRENGTH)
    draw = ImageDraw.Draw(image)
    for box in reversed(answer.boxes):  # the most probable one on top
        if box.score >= DEFAULT_THRESHOLD:
            _draw_box(draw, box, labels, image.size)
    for index, point in enumerate(answer.keypoints):
        _draw_point(draw, point, index, image.size)
    return image


def map_colours(values: DenseMap) -> Pixels:
    """Colour a map, [H, W, 3]: one channel from blue (low) to red (high), several by their three main components."""
    array = values.values
    if array.ndim == 4:  # of a clip: the first moment
        array = array[:, 0]
    return _scaled(array[0]) if len(array) < 3 else _components(array)


def class_colours(values: DenseMap) -> Pixels:
    """Colour classes, [H, W, 3]."""
    codes = values.code_array[0].astype(int)
    palette = np.array([_colour(index) for index in range(int(codes.max()) + 1)], np.uint8)
    return np.asarray(palette[codes], np.uint8)


def _scaled(plane: NDArray[np.float32]) -> Pixels:
    low, high = float(plane.min()), float(plane.max())
    places = (plane - low) / max(high - low, 1e-12) * (len(_SCALE) - 1)
    channels = [np.interp(places, np.arange(len(_SCALE)), _SCALE[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _components(array: NDArray[np.float32]) -> Pixels:
    """The three main components of the channels at each place, as red, green and blue."""
    channels, rows, columns = array.shape
    flat = array.reshape(channels, -1).T.astype(np.float64)
    centred = flat - flat.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    main = axes[:3] * np.sign(axes[:3].sum(1, keepdims=True) + 1e-12)  # the sign of a component means nothing
    parts = centred @ main.T
    low, high = parts.min(0), parts.max(0)
    colours = 255 * (parts - low) / np.maximum(high - low, 1e-12)
    return np.asarray(colours.reshape(rows, columns, -1), np.uint8)


def _draw_box(draw: ImageDraw.ImageDraw, box: Box, labels: tuple[str, ...], size: tuple[int, int]) -> None:
    width, height = size
    corner = box.left * width, box.top * height
    colour = _colour(box.label)
    draw.rectangle((*corner, box.right * width, box.bottom * height), outline=colour, width=_LINE)
    name = labels[box.label] if labels else str(box.label)
    text = f"{name} {box.score:.0%}"
    place = max(0.0, corner[0]), max(0.0, corner[1] - 12)
    draw.rectangle(draw.textbbox(place, text), fill=(0, 0, 0))
    draw.text(place, text, fill=colour)


def _draw_point(draw: ImageDraw.ImageDraw, point: KeyPoint, index: int, size: tuple[int, int]) -> None:
    x, y = point.x * size[0], point.y * size[1]
    draw.ellipse((x - _LINE, y - _LINE, x + _LINE, y + _LINE), fill=_colour(index), outline=(0, 0, 0))


def _colour(index: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1, 0.75, 0.95)
    return int(255 * red), int(255 * green), int(255 * blue)
