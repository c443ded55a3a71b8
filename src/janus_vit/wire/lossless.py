"""The lossless stage: zstd with a hard output limit, and byte planes. Knows nothing of tokens or images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import zstandard

from janus_vit.errors import WireError

Bytes = npt.NDArray[np.uint8]

LEVEL = 1  # on byte planes of tokens, level 3 takes longer and saves nothing
_SMALLEST_WINDOW = 1 << 10  # zstd's own minimum, in bytes


def compress(body: bytes, level: int = LEVEL) -> bytes:
    """One zstd frame that declares the size of its content."""
    return zstandard.ZstdCompressor(level=level, write_content_size=True).compress(body)


def decompress(data: bytes | memoryview, at_most: int) -> bytes:
    """Content of exactly one zstd frame, of at most `at_most` bytes.

    The header is checked before anything is allocated, so no frame makes this allocate more than `at_most` bytes
    and zstd's working memory, which is bounded by them too.

    Raises:
        WireError: not one whole frame, bytes behind it, a size that is not declared, or a larger one.
    """
    try:
        header = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise WireError(f"field body has no zstd frame: {error}") from error
    if header.content_size > at_most:
        raise WireError(f"field body declares {_size(header.content_size)} behind zstd, expected at most {at_most}")
    if header.window_size > max(at_most, _SMALLEST_WINDOW):
        raise WireError(f"field body asks for a zstd window of {header.window_size} bytes, more than its content")
    try:
        body: bytes = zstandard.ZstdDecompressor().decompress(data, max_output_size=at_most, allow_extra_data=False)
    except (zstandard.ZstdError, ValueError) as error:
        raise WireError(f"field body has a damaged zstd frame: {error}") from error
    return body


def read_body(data: bytes | memoryview, expected: int, *, lossless_stage: bool) -> Bytes:
    """The body, read-only, behind a lossless stage or not.

    Raises:
        WireError: it has not exactly the expected number of bytes, or its zstd frame is damaged.
    """
    body = decompress(data, expected) if lossless_stage else data
    size = memoryview(body).nbytes
    if size != expected:
        raise WireError(f"field body has {size} bytes, expected {expected}")
    return np.frombuffer(body, np.uint8)


def split_planes(values: Bytes, item_bytes: int) -> Bytes:
    """Gather the first bytes of all items, then the second ones, and so on: [N * item_bytes] to the same shape.

    Exponents of neighbouring floats are alike and their mantissas are not, so zstd does better on planes:
    normal float16 values shrink to about 0.87 instead of 0.93.
    """
    planes = np.empty((item_bytes, values.size // item_bytes), np.uint8)
    items = values.reshape(-1, item_bytes)
    for index in range(item_bytes):  # three times as fast as a transposed copy
        planes[index] = items[:, index]
    return planes.reshape(-1)


def join_planes(planes: Bytes, item_bytes: int) -> Bytes:
    """The inverse of `split_planes`."""
    items = np.empty((planes.size // item_bytes, item_bytes), np.uint8)
    for index, plane in enumerate(planes.reshape(item_bytes, -1)):
        items[:, index] = plane
    return items.reshape(-1)


def _size(content_size: int) -> str:
    return "no size" if content_size == zstandard.CONTENTSIZE_UNKNOWN else f"{content_size} bytes"
