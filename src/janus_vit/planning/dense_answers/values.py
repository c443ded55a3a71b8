"""Dense answers as compact values: maps of 8 or 16 bits, boxes, key points. Knows no tensor and no model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TYPES = {8: np.uint8, 16: np.uint16}


@dataclass(frozen=True, slots=True)
class DenseMap:
    """A map over the frame: depth, classes, features, or the output of a head of the user's own.

    A value is `low + step * code`, with `low` and `step` of its channel.

    Attributes:
        shape: channels, rows, columns; of clips channels, time, rows, columns.
        bits: bits of a code, 8 or 16.
        low: value of code 0, one for each channel.
        step: distance of two codes, one for each channel.
        codes: the codes in reading order, little-endian.
    """

    shape: tuple[int, ...]
    bits: int
    low: tuple[float, ...]
    step: tuple[float, ...]
    codes: bytes

    @property
    def code_array(self) -> NDArray[np.generic]:
        """The codes, [channels, ...]."""
        return np.frombuffer(self.codes, np.dtype(_TYPES[self.bits]).newbyteorder("<")).reshape(self.shape)

    @property
    def values(self) -> NDArray[np.float32]:
        """The values, float32 [channels, ...]."""
        each = (-1, *(1,) * (len(self.shape) - 1))
        low, step = (np.array(part, np.float32).reshape(each) for part in (self.low, self.step))
        return np.asarray(low + step * self.code_array.astype(np.float32), np.float32)


@dataclass(frozen=True, slots=True)
class MapFormat:
    """What a map of a model looks like.

    Attributes:
        shape: as in `DenseMap`.
        bits: as in `DenseMap`.
        classes: number of classes if the codes are classes, otherwise 0.
    """

    shape: tuple[int, ...]
    bits: int
    classes: int = 0

    @property
    def code_bytes(self) -> int:
        """Bytes of all codes."""
        return math.prod(self.shape) * self.bits // 8


@dataclass(frozen=True, slots=True)
class Box:
    """A detected object. Coordinates are shares of the frame's width and height, from the top left corner.

    Attributes:
        label: index of its class.
        score: probability of the class.
        left: left side.
        top: upper side.
        right: right side.
        bottom: lower side.
    """

    label: int
    score: float
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class KeyPoint:
    """A point of a pose, at shares of the frame's width and height from the top left corner.

    Attributes:
        x: from the left.
        y: from the top.
        score: height of its peak in the heat map.
    """

    x: float
    y: float
    score: float


def pack_map(values: NDArray[np.float32], bits: int) -> DenseMap:
    """Round values [channels, ...] to codes; each channel uses the whole range of codes.

    The error is at most half a step: the channel's range divided by 510 with 8 bits, by 131,070 with 16.
    """
    flat = values.reshape(len(values), -1).astype(np.float32)
    low, high = flat.min(1, keepdims=True), flat.max(1, keepdims=True)
    step = (high - low) / np.float32(2**bits - 1)
    codes = np.rint((flat - low) / np.where(step > 0, step, 1)).clip(0, 2**bits - 1).astype(f"<u{bits // 8}")
    return DenseMap(values.shape, bits, tuple(low[:, 0].tolist()), tuple(step[:, 0].tolist()), codes.tobytes())


def pack_classes(classes: NDArray[np.integer], bits: int) -> DenseMap:
    """Pack classes [rows, columns] into codes of 8 or 16 bits; see `class_bits`."""
    return DenseMap((1, *classes.shape), bits, (0.0,), (1.0,), classes.astype(f"<u{bits // 8}").tobytes())


def class_bits(count: int) -> int:
    """Bits of the codes of `count` classes."""
    return 8 if count <= 2**8 else 16
