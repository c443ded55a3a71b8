"""Images and input tensors to bytes and back. Knows no request, model or network, and does no resizing.

Only the plainest file of each format is accepted, the one that `encode_image` writes: one RGB frame, no progressive
JPEG (whose decoding time a sender could inflate), no extended WebP (animation, alpha, metadata). Dimensions are
checked before pixels are decoded. JPEG and WebP have no checksum: a changed byte inside one may give other pixels.
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

_TENSOR_LEVEL = 3  # photographs: 10 to 30 % smaller than at level 1, for 10 to 30 % more time
_FILE_SLACK_BYTES = 1 << 16
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "WEBP": b""}


def encode_image(frame: Frame, payload: PayloadFormat) -> bytes:
    """A frame, uint8 [H, W, 3], to a JPEG (4:2:0), WebP or PNG file, tuned for speed.

    Raises:
        WireError: the payload is no image file, the frame is no uint8 [H, W, 3], or its format cannot hold it.
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
    """A file to its frame, uint8 [height, width, 3], which may be written to.

    Raises:
        WireError: the payload is no image file, or the data is not one whole plain RGB file of that very format and
            of those dimensions.
    """
    container = _container(payload)
    most = 2 * 3 * height * width + _FILE_SLACK_BYTES  # an honest file is hardly larger than its pixels
    file = decompress(data, most) if payload.lossless_stage else bytes(data)
    if not file.endswith(_ENDS[container]):
        raise WireError(f"field body is not a whole {container} file: its end is missing")
    if container == "WEBP":
        _check_webp(file, height, width)
    try:
        with Image.open(BytesIO(file), formats=[container]) as image:
            _check_header(image, container, height, width)
            return np.array(image)
    except WireError:
        raise
    except Exception as error:  # Pillow's readers raise many types on hostile files
        raise WireError(f"field body is not a readable {container} file") from error


def encode_tensor(pixels: Tensor, *, lossless_stage: bool = False) -> bytes:
    """The model's input, [3, H, W] of any float type on any device, to float32, little-endian, row by row.

    Raises:
        WireError: a value is not finite in float32, or there is none.
    """
    if pixels.numel() == 0:
        raise WireError(f"an input tensor of {list(pixels.shape)} holds nothing")
    values = pixels.detach().to(torch.float32)
    require_finite(values, "the input tensor to encode")
    body = values.cpu().numpy().astype("<f4", copy=False).tobytes()
    return compress(body, _TENSOR_LEVEL) if lossless_stage else body


def decode_tensor(data: bytes | memoryview, shape: tuple[int, ...], *, lossless_stage: bool = False) -> Tensor:
    """Bytes to float32 of that shape, which holds at least one value; the result may be written to.

    Raises:
        WireError: another length, a damaged zstd frame, or a value that is not finite.
    """
    body = read_body(data, 4 * math.prod(shape), lossless_stage=lossless_stage)
    values = torch.from_numpy(body.view("<f4").astype(np.float32)).view(shape)
    require_finite(values, "field body")
    return values


def _options(payload: PayloadFormat, container: str) -> dict[str, Any]:
    """Pillow's options, for speed."""
    if container == "PNG":
        return {"compress_level": 1, "compress_type": zlib.Z_RLE}  # camera frames: faster and smaller than LZ77
    if container == "WEBP":
        return {"quality": payload.quality, "method": 0}
    return {"quality": payload.quality, "subsampling": "4:2:0"}


def _container(payload: PayloadFormat) -> str:
    for container in _ENDS:
        if payload.base.startswith(container.lower()):
            return container
    raise WireError(f"payload {payload.name} is no image file")


def _check_header(image: Image.Image, container: str, height: int, width: int) -> None:
    """Refuse what is not expected while no pixel has been decoded."""
    if image.size != (width, height):
        raise _other_dimensions(image.size[::-1], height, width)
    frames = getattr(image, "n_frames", 1)
    if image.format != container or frames != 1 or image.mode != "RGB" or image.info.get("progressive"):
        raise WireError(f"field body is not a plain RGB {container} file of one frame")


def _check_webp(file: bytes, height: int, width: int) -> None:
    """Refuse what is not expected before Pillow sees it: opening a WebP allocates its canvas.

    Simple lossy file (RFC 9649): RIFF, size, WEBP, "VP8 ", chunk size, frame tag [3], start code [3], width, height.
    """
    if len(file) < 30 or file[:4] != b"RIFF" or file[8:16] != b"WEBPVP8 " or file[23:26] != b"\x9d\x01\x2a":
        raise WireError("field body is not a simple lossy WebP file")
    if int.from_bytes(file[4:8], "little") != len(file) - 8:
        raise WireError("field body is not a whole WEBP file: its length is not the one that it declares")
    found = (int.from_bytes(file[28:30], "little") & 0x3FFF, int.from_bytes(file[26:28], "little") & 0x3FFF)
    if found != (height, width):
        raise _other_dimensions(found, height, width)


def _other_dimensions(found: tuple[int, ...], height: int, width: int) -> WireError:
    return WireError(f"field body is an image of {found[0]} x {found[1]}, expected {height} x {width} (H x W)")
