"""The size of a model's input, as users choose it. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from janus_vit.errors import InputError

MOST_PIXELS = 1 << 14  # of a side; larger numbers are damage
_TEXT = re.compile(r"([0-9]{1,5})|(frames:)?([0-9]{1,5})x([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class FrameSize:
    """Height and width of a camera's frames in pixels, from which a model derives the size of its input."""

    height: int
    width: int


ImageSize = int | tuple[int, int] | FrameSize  # side of a square, height and width, or those of the frames


def parse_image_size(text: str) -> ImageSize:
    """Read a size from text: "N", "HxW", or "frames:HxW".

    Raises:
        InputError: it is none of these, or a side is 0 or too large.
    """
    match = _TEXT.fullmatch(text)
    sides = [] if match is None else [int(side) for side in match.group(1, 3, 4) if side]
    if match is None or not all(1 <= side <= MOST_PIXELS for side in sides):
        raise InputError(
            f"image size {text!r} cannot be used: write N, HxW or frames:HxW, in pixels up to {MOST_PIXELS}"
        )
    if len(sides) == 1:
        return sides[0]
    return FrameSize(*sides) if match[2] else (sides[0], sides[1])
