"""The model's input at split 0 to bytes and back: an image, a clip, or the float32 tensor that the model sees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from janus_vit.planning.payloads import PayloadFormat
from janus_vit.wire.clips import decode_clip, encode_clip
from janus_vit.wire.images import decode_image, decode_tensor, encode_image, encode_tensor

Pixels = npt.NDArray[np.uint8]
Normalise = Callable[[Pixels], Tensor]


def encode_input(pixels: Pixels, payload: PayloadFormat, normalise: Normalise) -> bytes:
    """An image [H, W, 3] or a clip [T, H, W, 3] in a payload's format.

    Args:
        normalise: gives the tensor [1, 3, ...] that the model sees, for the format "tensor".

    Raises:
        WireError: the format cannot hold it.
    """
    if payload.base == "tensor":
        return encode_tensor(normalise(pixels)[0], lossless_stage=payload.lossless_stage)
    return encode_clip(pixels, payload) if pixels.ndim == 4 else encode_image(pixels, payload)


def decode_input(
    data: bytes | memoryview, payload: PayloadFormat, input_shape: tuple[int, ...], normalise: Normalise
) -> Tensor:
    """Bytes to the model's input [1, *input_shape], float32.

    Args:
        input_shape: (3, height, width) of an image, (3, frames, height, width) of a clip.
        normalise: pixels to the tensor [1, 3, ...] that the model sees.

    Raises:
        WireError: the bytes are not an input of that format and shape.
    """
    decoded = decode_pixels(data, payload, input_shape)
    return decoded[None] if isinstance(decoded, Tensor) else normalise(decoded)


def decode_pixels(data: bytes | memoryview, payload: PayloadFormat, input_shape: tuple[int, ...]) -> Pixels | Tensor:
    """Bytes to pixels that are still to be normalised, or to the float32 tensor that is normalised already.

    Args:
        input_shape: (3, height, width) of an image, (3, frames, height, width) of a clip.

    Returns:
        uint8 [H, W, 3] or [T, H, W, 3], or for the format "tensor" float32 of `input_shape`.

    Raises:
        WireError: the bytes are not an input of that format and shape.
    """
    if payload.base == "tensor":
        return decode_tensor(data, input_shape, lossless_stage=payload.lossless_stage)
    _, *frames, height, width = input_shape
    if frames:
        return decode_clip(data, payload, frames[0], height, width)
    return decode_image(data, payload, height, width)
