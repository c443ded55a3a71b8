"""Encode and decode images and input tensors. Knows no request, model or network, and does not resize.

The decoder accepts only the simple files that `encode_image` writes: one RGB frame, no progressive JPEG (a sender could
inflate its decoding time), no extended WebP (animation, alpha, metadata). It checks the dimensions before it decodes
pixels. JPEG and WebP have no checksum: a corrupted byte can change pixels without an error.
"""

from __future__ import annotations

import math
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from janus_vit.errors import WireError
from janus_vit.planning.payloads import PayloadFormat
from janus_vit.wire.lossless import compress, decompress, read_body
from janus_vit.wire.tokens import require_finite

Frame = npt.NDArray[np.uint8]

_TENSOR_LEVEL = 3  # for photographs 10 to 30 % smaller than level 1, and 10 to 30 % slower
_FILE_SLACK_BYTES = 1 << 16  # for file headers
_END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "WEBP": b""}


def encode_image(frame: Frame, payload: PayloadFormat) -> bytes:
    """Encode a frame, uint8 [H, W, 3], as a JPEG (4:2:0), WebP or PNG file, with settings tuned for speed.

    Raises:
        WireError: the payload is not an image format, the frame is not uint8 [H, W, 3], or the format cannot hold it.
    """
    container = _container(payload)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise WireError(f"a frame of {frame.dtype} {list(frame.shape)} is not uint8 [H, W, 3]")
    file = BytesIO()
    try:
        Image.fromarray(frame).save(file, container, **_options(payload, container))
    except (OSError, ValueError) as error:
        raise WireError(f"a frame of {list(frame.shape)} does not fit {payload.name}: {error}") from error
    return compress(file.getvalue()) if payload.lossless_stage else file.getvalue()


def decode_image(data: bytes | memoryview, payload: PayloadFormat, height: int, width: int) -> Frame:
    """Decode a file into a writable frame, uint8 [height, width, 3].

    Raises:
        WireError: the payload is not an image format, or the data is not one complete plain RGB file of that format
            and those dimensions.
    """
    container = _container(payload)
    max_bytes = 2 * 3 * height * width + _FILE_SLACK_BYTES  # valid files are hardly larger than their pixels
    file = decompress(data, max_bytes) if payload.lossless_stage else bytes(data)
    if not file.endswith(_END_MARKERS[container]):
        raise WireError(f"field body is not a complete {container} file: its end is missing")
    if container == "WEBP":
        _check_webp(file, height, width)
    try:
        with Image.open(BytesIO(file), formats=[container]) as image:
            _check_header(image, container, height, width)
            return np.array(image)
    except WireError:
        raise
    except Exception as error:  # Pillow's readers raise many exception types on malformed files
        raise WireError(f"field body is not a readable {container} file") from error


def encode_tensor(pixels: Tensor, *, lossless_stage: bool = False) -> bytes:
    """Encode the model's input, [3, H, W] of any float type on any device, as little-endian float32 in row order.

    Raises:
        WireError: the tensor is empty, or a value is not finite in float32.
    """
    if pixels.numel() == 0:
        raise WireError(f"an input tensor of {list(pixels.shape)} is empty")
    values = pixels.detach().to(torch.float32)
    require_finite(values, "the input tensor to encode")
    body = values.cpu().numpy().astype("<f4", copy=False).tobytes()
    return compress(body, _TENSOR_LEVEL) if lossless_stage else body


def decode_tensor(data: bytes | memoryview, shape: tuple[int, ...], *, lossless_stage: bool = False) -> Tensor:
    """Decode bytes into a writable float32 tensor.

    Args:
        data: what `encode_tensor` wrote.
        shape: shape of the result, with at least one value.
        lossless_stage: whether the data is a zstd frame.

    Raises:
        WireError: the length is wrong, the zstd frame is damaged, or a value is not finite.
    """
    body = read_body(data, 4 * math.prod(shape), lossless_stage=lossless_stage)
    values = torch.from_numpy(body.view("<f4").astype(np.float32)).view(shape)
    require_finite(values, "field body")
    return values


def _options(payload: PayloadFormat, container: str) -> dict[str, Any]:
    """Return Pillow's fastest settings for a container."""
    if container == "PNG":
        return {"compress_level": 1, "compress_type": zlib.Z_RLE}  # faster and smaller than LZ77 on camera frames
    if container == "WEBP":
        return {"quality": payload.quality, "method": 0}
    return {"quality": payload.quality, "subsampling": "4:2:0"}


def _container(payload: PayloadFormat) -> str:
    for container in _END_MARKERS:
        if payload.base.startswith(container.lower()):
            return container
    raise WireError(f"payload {payload.name} is not an image format")


def _check_header(image: Image.Image, container: str, height: int, width: int) -> None:
    """Refuse a file that `encode_image` would not have written, before any pixel is decoded."""
    if image.size != (width, height):
        raise _wrong_dimensions(image.size[::-1], height, width)
    frames = getattr(image, "n_frames", 1)
    if image.format != container or frames != 1 or image.mode != "RGB" or image.info.get("progressive"):
        raise WireError(f"field body is not a plain RGB {container} file of one frame")


def _check_webp(file: bytes, height: int, width: int) -> None:
    """Refuse all but simple lossy WebP files before Pillow sees them, because opening a WebP allocates its canvas.

    Fields of a simple lossy file (RFC 9649): RIFF, size, WEBP, "VP8 ", chunk size, frame tag [3], start code [3],
    width, height.
    """
    if len(file) < 30 or file[:4] != b"RIFF" or file[8:16] != b"WEBPVP8 " or file[23:26] != b"\x9d\x01\x2a":
        raise WireError("field body is not a simple lossy WebP file")
    if int.from_bytes(file[4:8], "little") != len(file) - 8:
        raise WireError("field body is not a complete WEBP file: its length differs from the length in its header")
    found = (int.from_bytes(file[28:30], "little") & 0x3FFF, int.from_bytes(file[26:28], "little") & 0x3FFF)
    if found != (height, width):
        raise _wrong_dimensions(found, height, width)


def _wrong_dimensions(found: tuple[int, ...], height: int, width: int) -> WireError:
    return WireError(f"field body is an image of {found[0]} x {found[1]}, expected {height} x {width} (H x W)")
