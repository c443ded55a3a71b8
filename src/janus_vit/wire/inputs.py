"""Encode and decode the model's input at split 0: an image, a clip, or the normalised float32 tensor.

Knows no request and no model: the caller passes the function that normalises pixels.
"""

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
    """Encode an image, uint8 [H, W, 3], or a clip, uint8 [T, H, W, 3].

    Args:
        pixels: the image or clip.
        payload: format of the result.
        normalise: converts pixels to the model's input [1, 3, ...]; used for the format "tensor".

    Raises:
        WireError: the format cannot hold the pixels.
    """
    if payload.base == "tensor":
        return encode_tensor(normalise(pixels)[0], lossless_stage=payload.lossless_stage)
    return encode_clip(pixels, payload) if pixels.ndim == 4 else encode_image(pixels, payload)


def decode_input(
    data: bytes | memoryview, payload: PayloadFormat, input_shape: tuple[int, ...], normalise: Normalise
) -> Tensor:
    """Decode bytes into the model's input, float32 [1, *input_shape].

    Args:
        data: what `encode_input` wrote.
        payload: format of the data.
        input_shape: (3, height, width) for an image, (3, frames, height, width) for a clip.
        normalise: converts pixels to the model's input [1, 3, ...].

    Raises:
        WireError: the bytes are not an input of that format and shape.
    """
    decoded = decode_pixels(data, payload, input_shape)
    return decoded[None] if isinstance(decoded, Tensor) else normalise(decoded)


def decode_pixels(
    data: bytes | memoryview,
    payload: PayloadFormat,
    input_shape: tuple[int, ...],
    before_frame: Callable[[], None] = lambda: None,
) -> Pixels | Tensor:
    """Decode bytes into pixels, or into a float32 tensor that is already normalised.

    Args:
        data: what `encode_input` wrote.
        payload: format of the data.
        input_shape: (3, height, width) for an image, (3, frames, height, width) for a clip.
        before_frame: called before each frame of a clip; an exception stops the decoding.

    Returns:
        Pixels, uint8 [H, W, 3] or [T, H, W, 3]; for the format "tensor" float32 of `input_shape`.

    Raises:
        WireError: the bytes are not an input of that format and shape.
    """
    if payload.base == "tensor":
        return decode_tensor(data, input_shape, lossless_stage=payload.lossless_stage)
    _, *frames, height, width = input_shape
    if frames:
        return decode_clip(data, payload, frames[0], height, width, before_frame)
    return decode_image(data, payload, height, width)
