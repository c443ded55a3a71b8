"""Encode and decode images and input tensors. Knows no request, model or network, and does not resize.

The decoder accepts only simple files, such as `encode_image` writes: one RGB frame, JPEG of a single scan, no extended
WebP (animation, alpha, metadata). `containers` checks dimensions and structure before pixels are decoded, because a
sender could inflate the decoding time of other files. JPEG and WebP have no checksum: a corrupted byte can change
pixels without an error.
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
from janus_vit.wire.containers import check_webp, plain_jpeg, plain_png
from janus_vit.wire.lossless import compress, decompress, read_body
from janus_vit.wire.tokens import LARGEST_VALUE, require_finite

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
    if memoryview(data).nbytes > max_bytes:
        raise WireError(f"field body has {memoryview(data).nbytes} bytes, expected at most {max_bytes}")
    file = decompress(data, max_bytes) if payload.lossless_stage else bytes(data)
    if not file.endswith(_END_MARKERS[container]):
        raise WireError(f"field body is not a complete {container} file: its end is missing")
    file = _plain(file, container, height, width)
    try:
        return np.array(_open(file, container, height, width))
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
        WireError: the length is wrong, the zstd frame is damaged, or a value is not finite or above `LARGEST_VALUE`.
    """
    body = read_body(data, 4 * math.prod(shape), lossless_stage=lossless_stage)
    values = torch.from_numpy(body.view("<f4").astype(np.float32)).view(shape)
    require_finite(values, "field body", LARGEST_VALUE)
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


def _plain(file: bytes, container: str, height: int, width: int) -> bytes:
    """Return the file without its metadata, after checking its structure."""
    if container == "PNG":
        return plain_png(file, height, width)
    if container == "JPEG":
        return plain_jpeg(file, height, width)
    check_webp(file, height, width)
    return file


def _open(file: bytes, container: str, height: int, width: int) -> Image.Image:
    """Return an image in RGB of these dimensions. A checked JPEG needs no second look at its header: 15 % faster."""
    if container == "JPEG":
        return Image.frombytes("RGB", (width, height), file, "jpeg", "RGB", "")
    image = Image.open(BytesIO(file), formats=[container])
    if image.mode != "RGB" or image.size != (width, height):
        raise WireError(f"field body is not a plain RGB {container} file of one frame")
    return image
