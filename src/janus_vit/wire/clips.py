"""Encode and decode video clips. Knows no request, model or network, and does not resize.

A body holds the number of frames, the length of each frame's data (uint32, little-endian), and the data itself: one
image file per frame, or one access unit of H.264 or H.265 per frame, see `wire.video_codecs`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from janus_vit.errors import WireError
from janus_vit.planning.payloads import PayloadFormat
from janus_vit.wire.images import decode_image, encode_image
from janus_vit.wire.lossless import compress, decompress
from janus_vit.wire.video_codecs import Clip, decode_video, encode_video

_FRAME_SLACK_BYTES = 1 << 16  # for file headers


def encode_clip(clip: Clip, payload: PayloadFormat) -> bytes:
    """Encode a clip, uint8 [T, H, W, 3], as one image file per frame or as an H.264 stream.

    Raises:
        WireError: the payload is not a clip format, the clip is not uint8 [T, H, W, 3], or the format cannot hold it.
        InputError: the payload is H.264 or H.265, and PyAV or its encoder is not installed.
    """
    _require_clip_payload(payload)
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or clip.size == 0:
        raise WireError(f"a clip of {clip.dtype} {list(clip.shape)} is not uint8 [T, H, W, 3]")
    if payload.of_clips:
        files = encode_video(clip, payload)
    else:
        files = [encode_image(frame, _frame_format(payload)) for frame in clip]
    body = struct.pack(f"<{1 + len(files)}I", len(files), *map(len, files)) + b"".join(files)
    return compress(body) if payload.lossless_stage else body


def decode_clip(
    data: bytes | memoryview,
    payload: PayloadFormat,
    frames: int,
    height: int,
    width: int,
    before_frame: Callable[[], None] = lambda: None,
) -> Clip:
    """Decode a body into a writable clip, uint8 [frames, height, width, 3].

    Args:
        data: what `encode_clip` wrote.
        payload: format of the data.
        frames: expected number of frames.
        height: expected height of each frame.
        width: expected width of each frame.
        before_frame: called before each frame is decoded; an exception stops the decoding.

    Raises:
        WireError: the payload is not a clip format, or the data is not one complete clip of that format, number of
            frames and dimensions.
        InputError: the payload is H.264 or H.265, and PyAV is not installed.
    """
    _require_clip_payload(payload)
    max_bytes = 4 + frames * (2 * 3 * height * width + _FRAME_SLACK_BYTES)
    if memoryview(data).nbytes > max_bytes:
        raise WireError(f"field body has {memoryview(data).nbytes} bytes, expected at most {max_bytes}")
    files = _split_body(decompress(data, max_bytes) if payload.lossless_stage else bytes(data), frames)
    if payload.of_clips:
        return decode_video(files, payload, height, width, before_frame)
    clip = np.empty((frames, height, width, 3), np.uint8)
    for frame, file in zip(clip, files, strict=True):
        before_frame()
        frame[:] = decode_image(file, _frame_format(payload), height, width)
    return clip


def _require_clip_payload(payload: PayloadFormat) -> None:
    if payload.of_tokens or payload.base == "tensor":
        raise WireError(f"payload {payload.name} is not a clip format")


def _frame_format(payload: PayloadFormat) -> PayloadFormat:
    """Return the format of one frame. The lossless stage wraps all frames together, not each one."""
    return replace(payload, name=payload.base, lossless_stage=False)


def _split_body(body: bytes, frames: int) -> list[bytes]:
    """Split a body into one file per frame, after checking every length."""
    start = 4 * (1 + frames)
    count = int.from_bytes(body[:4], "little")
    if len(body) < 4 or (count == frames and len(body) < start):
        raise WireError(f"field body has {len(body)} bytes, too few for the lengths of {frames} frames")
    if count != frames:
        raise WireError(f"field body has {count} frames, expected {frames}")
    lengths = struct.unpack_from(f"<{frames}I", body, 4)
    if start + sum(lengths) != len(body):
        raise WireError(f"field body has {len(body)} bytes, but its lengths add up to {start + sum(lengths)}")
    files = []
    for length in lengths:
        files.append(body[start : start + length])
        start += length
    return files
