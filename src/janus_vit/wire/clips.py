"""Encode and decode video clips. Knows no request, model or network, and does not resize.

A body holds the number of frames, the length of each frame's data (uint32, little-endian), and the data itself: one
image file per frame, or one H.264 access unit per frame (Rec. ITU-T H.264, Annex B).

The decoder accepts only the simple streams that `encode_clip` writes: High profile 4:2:0, one key frame, then frames
that refer back, each in a single slice. This module parses the header before the decoder sees a byte, so that a
malicious stream cannot make the decoder allocate more than the expected frames. H.264 has no checksum: a byte that is
corrupted inside a frame can change pixels without an error.

H.264 needs PyAV, the extra `janus-vit[video]`. The other formats do not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from janus_vit.errors import InputError, JanusError, WireError
from janus_vit.planning.payloads import PayloadFormat
from janus_vit.wire.images import decode_image, encode_image
from janus_vit.wire.lossless import compress, decompress

Clip = npt.NDArray[np.uint8]

_ENCODER = "libx264"
_PRESET = "veryfast"
_START_CODE = b"\0\0\1"
_SLICE, _KEY_SLICE, _SEQUENCE_SET, _PICTURE_SET = 1, 5, 7, 8  # nal_unit_type
_KEY_FRAME_UNITS, _LATER_FRAME_UNITS = [_SEQUENCE_SET, _PICTURE_SET, _KEY_SLICE], [_SLICE]
_MAX_START_CODES = 32  # far more than a plain stream has in one frame
_HIGH_PROFILE = 100  # profile_idc
_MACROBLOCK_PIXELS = 16
_HEADER_BYTES = 64  # about three times what the fields that we read need
_MAX_LEADING_ZEROS = 12  # an exp-Golomb number is then below 8191, the decoder's own limit
_FRAME_SLACK_BYTES = 1 << 16  # for file headers


def encode_clip(clip: Clip, payload: PayloadFormat) -> bytes:
    """Encode a clip, uint8 [T, H, W, 3], as one image file per frame or as an H.264 stream.

    Raises:
        WireError: the payload is not a clip format, the clip is not uint8 [T, H, W, 3], or the format cannot hold it.
        InputError: the payload is H.264, and PyAV or its encoder is not installed.
    """
    _require_clip_payload(payload)
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or clip.size == 0:
        raise WireError(f"a clip of {clip.dtype} {list(clip.shape)} is not uint8 [T, H, W, 3]")
    if payload.of_clips:
        files = _encode_h264(clip, payload)
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
        InputError: the payload is H.264, and PyAV is not installed.
    """
    _require_clip_payload(payload)
    max_bytes = 4 + frames * (2 * 3 * height * width + _FRAME_SLACK_BYTES)
    if memoryview(data).nbytes > max_bytes:
        raise WireError(f"field body has {memoryview(data).nbytes} bytes, expected at most {max_bytes}")
    files = _split_body(decompress(data, max_bytes) if payload.lossless_stage else bytes(data), frames)
    if payload.of_clips:
        return _decode_h264(files, height, width, before_frame)
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


def _encode_h264(clip: Clip, payload: PayloadFormat) -> list[bytes]:
    """Encode one access unit per frame. Odd sides repeat their last row or column, because 4:2:0 halves both."""
    av = _import_pyav()
    if _ENCODER not in av.codecs_available:
        raise InputError(f"payload {payload.name} needs PyAV with {_ENCODER}: pip install av")
    frames, height, width = clip.shape[:3]
    even = np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    try:
        encoder = av.CodecContext.create(_ENCODER, "w")
        encoder.height, encoder.width, encoder.pix_fmt = *even.shape[1:3], "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)  # required by H.264, not used here
        encoder.gop_size, encoder.thread_count = frames, 1
        fast = {"preset": _PRESET, "tune": "zerolatency", "x264-params": "scenecut=0"}
        encoder.options = {**fast, "crf": str(payload.crf)}
        packets = []
        for index, frame in enumerate(even):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = index
            packets += encoder.encode(picture)
        return [_strip_metadata(bytes(packet)) for packet in packets + encoder.encode(None)]
    except Exception as error:  # PyAV raises its own exception types and some of Python's
        raise WireError(f"a clip of {list(clip.shape)} does not fit {payload.name}: {error}") from error


def _strip_metadata(access_unit: bytes) -> bytes:
    """Remove what a decoder does not need, such as the 700 bytes in which x264 describes its settings."""
    needed = (*_KEY_FRAME_UNITS, *_LATER_FRAME_UNITS)
    return b"".join(_START_CODE + unit for unit in _nal_units(access_unit) if _nal_type(unit) in needed)


def _decode_h264(access_units: Sequence[bytes], height: int, width: int, before_frame: Callable[[], None]) -> Clip:
    av = _import_pyav()
    even = height + height % 2, width + width % 2
    _check_stream(access_units, *even)
    try:
        decoder = av.CodecContext.create("h264", "r")
        decoder.thread_count = 1
        decoder.options = {"err_detect": "explode"}
        pictures = []
        for unit in access_units:
            before_frame()
            pictures += decoder.decode(av.Packet(unit))
        pictures += decoder.decode(None)
        for picture in pictures:
            if (picture.height, picture.width, picture.format.name) != (*even, "yuv420p") or picture.is_corrupt:
                raise WireError("field body has a damaged H.264 frame")
        convert = av.video.reformatter.VideoReformatter().reformat
        clip = [convert(picture, format="rgb24").to_ndarray()[:height, :width] for picture in pictures]
    except JanusError:
        raise
    except Exception as error:  # PyAV raises its own exception types and some of Python's
        raise WireError("field body is not a readable H.264 stream") from error
    if len(clip) != len(access_units):
        raise WireError(f"field body has {len(clip)} readable H.264 frames, expected {len(access_units)}")
    return np.stack(clip)


def _check_stream(access_units: Sequence[bytes], height: int, width: int) -> None:
    """Refuse every stream that `encode_clip` would not have written, before the decoder sees it."""
    for index, unit in enumerate(access_units):
        if unit.count(_START_CODE) > _MAX_START_CODES or unit.endswith(b"\0"):
            raise WireError(
                f"field body is not a plain H.264 stream: frame {index} has more than {_MAX_START_CODES} start codes "
                "or ends with zeros"
            )
        types = [_nal_type(part) for part in _nal_units(unit)]
        if not unit.startswith(_START_CODE) or types != (_LATER_FRAME_UNITS if index else _KEY_FRAME_UNITS):
            raise WireError(f"field body is not a plain H.264 stream: frame {index} has NAL units of types {types[:8]}")
    found = _read_dimensions(_nal_units(access_units[0])[0])
    if found != (height, width):
        raise WireError(
            f"field body is an H.264 stream of {found[0]} x {found[1]}, expected {height} x {width} (H x W)"
        )


def _nal_units(access_unit: bytes) -> list[bytes]:
    """Split an access unit into its NAL units, none of them empty. A start code cannot occur inside a NAL unit."""
    return [unit for unit in (piece.rstrip(b"\0") for piece in access_unit.split(_START_CODE)) if unit]


def _nal_type(unit: bytes) -> int:
    return unit[0] & 31


def _read_dimensions(sequence_set: bytes) -> tuple[int, int]:
    """Read height and width in pixels from a sequence parameter set (Rec. ITU-T H.264, 7.3.2.1.1).

    Reading stops at two zero bytes, where escaped bytes could begin. In the streams that we accept these come after
    all the fields that we read.
    """
    bits = _BitReader(sequence_set[1:].split(b"\0\0")[0][:_HEADER_BYTES])
    profile = bits.read_bits(8)
    bits.read_bits(16)  # constraint flags, level
    bits.read_number()  # seq_parameter_set_id
    chroma, luma_depth, chroma_depth = bits.read_number(), bits.read_number(), bits.read_number()  # depths minus 8
    colour = chroma, luma_depth, chroma_depth, bits.read_bits(2)  # lossless flag, scaling matrix flag
    bits.read_number()  # log2_max_frame_num
    order = bits.read_number()  # pic_order_cnt_type 2: output order is coding order
    bits.read_number()  # max_num_ref_frames
    gaps = bits.read_bits(1)
    columns, rows = (_MACROBLOCK_PIXELS * (bits.read_number() + 1) for _ in range(2))
    whole_frames = bits.read_bits(1)
    bits.read_bits(1)  # direct_8x8_inference_flag
    left, right, top, bottom = (2 * bits.read_number() for _ in range(4)) if bits.read_bits(1) else (0, 0, 0, 0)
    if (profile, colour, order, gaps, whole_frames) != (_HIGH_PROFILE, (1, 0, 0, 0), 2, 0, 1):
        raise WireError("field body is not a plain H.264 stream of High profile, 4:2:0, 8 bits and whole frames")
    if left or top or max(right, bottom) >= _MACROBLOCK_PIXELS:
        raise WireError("field body is an H.264 stream that crops its pictures")
    return rows - bottom, columns - right


class _BitReader:
    """Read the bits of a header from first to last."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read_bits(self, count: int) -> int:
        """Read the next `count` bits as an unsigned number."""
        self._left -= count
        if self._left < 0:
            raise WireError("field body has a truncated H.264 header")
        return (self._value >> self._left) & ((1 << count) - 1)

    def read_number(self) -> int:
        """Read the next exp-Golomb number."""
        zeros = 0
        while not self.read_bits(1):
            zeros += 1
        if zeros > _MAX_LEADING_ZEROS:
            raise WireError("field body has a number that is too large in its H.264 header")
        return (1 << zeros) - 1 + self.read_bits(zeros)


def _import_pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise InputError("H.264 needs PyAV: install it with pip install 'janus-vit[video]'") from error
    return av
