"""Clips to bytes and back. Knows no request, model or network, and does no resizing.

A body is a count, that many lengths (uint32, little-endian), and the files themselves: of images one file a frame, of
H.264 one access unit a frame (Rec. ITU-T H.264, Annex B). As with images only the plainest stream is accepted, the one
that `encode_clip` writes: High profile 4:2:0, one key frame, then frames that refer back, each in a single slice. The
header is read here, before the decoder sees a byte, so that no stream makes it allocate more than the expected frames.
H.264 has no checksum: a changed byte inside a frame may give other pixels.

H.264 goes through PyAV, the extra `janus-vit[video]`; nothing else needs it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from janus_vit.errors import InputError, WireError
from janus_vit.planning.payloads import PayloadFormat
from janus_vit.wire.images import decode_image, encode_image
from janus_vit.wire.lossless import compress, decompress

Clip = npt.NDArray[np.uint8]

_ENCODER = "libx264"
_PRESET = "veryfast"
_START = b"\0\0\1"
_SLICE, _KEY_SLICE, _SEQUENCE, _PICTURE = 1, 5, 7, 8  # kinds of NAL units, nal_unit_type
_FIRST_UNIT, _LATER_UNIT = [_SEQUENCE, _PICTURE, _KEY_SLICE], [_SLICE]
_HIGH = 100  # profile_idc
_BLOCK = 16  # side of a macroblock in pixels
_HEADER_BYTES = 64  # the fields that matter need about a third of them
_MOST_ZEROS = 12  # of one exp-Golomb number, which is then below 8191 as the decoder wants it
_FRAME_SLACK_BYTES = 1 << 16


def encode_clip(clip: Clip, payload: PayloadFormat) -> bytes:
    """A clip, uint8 [T, H, W, 3], to one image file a frame or to an H.264 stream.

    Raises:
        WireError: the payload is no clip file, the clip is no uint8 [T, H, W, 3], or its format cannot hold it.
        InputError: H.264 is asked for and PyAV, or its encoder, is not installed.
    """
    _check_payload(payload)
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or clip.size == 0:
        raise WireError(f"a clip of {clip.dtype} {list(clip.shape)} is not uint8 [T, H, W, 3]")
    files = _encode_h264(clip, payload) if payload.of_clips else [encode_image(one, _plain(payload)) for one in clip]
    body = struct.pack(f"<{1 + len(files)}I", len(files), *map(len, files)) + b"".join(files)
    return compress(body) if payload.lossless_stage else body


def decode_clip(data: bytes | memoryview, payload: PayloadFormat, frames: int, height: int, width: int) -> Clip:
    """A body to its clip, uint8 [frames, height, width, 3], which may be written to.

    Raises:
        WireError: the payload is no clip file, or the data is not a whole clip of that very format, of that many
            frames and of those dimensions.
        InputError: H.264 is asked for and PyAV is not installed.
    """
    _check_payload(payload)
    most = 4 + frames * (2 * 3 * height * width + _FRAME_SLACK_BYTES)
    files = _split(decompress(data, most) if payload.lossless_stage else bytes(data), frames)
    if payload.of_clips:
        return _decode_h264(files, height, width)
    return np.stack([decode_image(file, _plain(payload), height, width) for file in files])


def _check_payload(payload: PayloadFormat) -> None:
    if payload.of_tokens or payload.base == "tensor":
        raise WireError(f"payload {payload.name} is no clip file")


def _plain(payload: PayloadFormat) -> PayloadFormat:
    """The format of one frame: a lossless stage is around all of them."""
    return replace(payload, name=payload.base, lossless_stage=False)


def _split(body: bytes, frames: int) -> list[bytes]:
    """The files of a body; every length is checked before any is read."""
    start = 4 * (1 + frames)
    count = int.from_bytes(body[:4], "little")
    if len(body) < 4 or (count == frames and len(body) < start):
        raise WireError(f"field body has {len(body)} bytes, too few for the lengths of {frames} frames")
    if count != frames:
        raise WireError(f"field body has {count} frames, expected {frames}")
    lengths = struct.unpack_from(f"<{frames}I", body, 4)
    if start + sum(lengths) != len(body):
        raise WireError(f"field body has {len(body)} bytes and its lengths ask for {start + sum(lengths)}")
    files = []
    for length in lengths:
        files.append(body[start : start + length])
        start += length
    return files


def _encode_h264(clip: Clip, payload: PayloadFormat) -> list[bytes]:
    """An access unit a frame; sides that are odd grow by their last row or column, as 4:2:0 halves them."""
    av = _pyav()
    if _ENCODER not in av.codecs_available:
        raise InputError(f"payload {payload.name} needs PyAV with {_ENCODER}: pip install av")
    frames, height, width = clip.shape[:3]
    even = np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    try:
        encoder = av.CodecContext.create(_ENCODER, "w")
        encoder.height, encoder.width, encoder.pix_fmt = *even.shape[1:3], "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)  # H.264 wants some; nobody reads it
        encoder.gop_size, encoder.thread_count = frames, 1
        fast = {"preset": _PRESET, "tune": "zerolatency", "x264-params": "scenecut=0"}
        encoder.options = {**fast, "crf": str(payload.crf)}
        packets = []
        for index, one in enumerate(even):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(one), format="rgb24")
            picture.pts = index
            packets += encoder.encode(picture)
        return [_without_remarks(bytes(packet)) for packet in packets + encoder.encode(None)]
    except Exception as error:  # PyAV raises its own types and a few of Python's
        raise WireError(f"a clip of {list(clip.shape)} does not fit {payload.name}: {error}") from error


def _without_remarks(unit: bytes) -> bytes:
    """An access unit without the encoder's 700 bytes about itself."""
    kept = [part for part in _parts(unit) if part[0] & 31 in (*_FIRST_UNIT, *_LATER_UNIT)]
    return b"".join(_START + part for part in kept)


def _decode_h264(units: Sequence[bytes], height: int, width: int) -> Clip:
    av = _pyav()
    even = height + height % 2, width + width % 2
    _check_stream(units, *even)
    try:
        decoder = av.CodecContext.create("h264", "r")
        decoder.thread_count = 1
        decoder.options = {"err_detect": "explode"}
        pictures = [picture for unit in units for picture in decoder.decode(av.Packet(unit))] + decoder.decode(None)
        for picture in pictures:
            if (picture.height, picture.width, picture.format.name) != (*even, "yuv420p") or picture.is_corrupt:
                raise WireError("field body has an H.264 frame that is damaged")
        convert = av.video.reformatter.VideoReformatter().reformat
        clip = [convert(picture, format="rgb24").to_ndarray()[:height, :width] for picture in pictures]
    except WireError:
        raise
    except Exception as error:  # PyAV raises its own types and a few of Python's
        raise WireError("field body is not a readable H.264 stream") from error
    if len(clip) != len(units):
        raise WireError(f"field body has {len(clip)} H.264 frames that can be read, expected {len(units)}")
    return np.stack(clip)


def _check_stream(units: Sequence[bytes], height: int, width: int) -> None:
    """Refuse what is not expected before the decoder sees it."""
    for index, unit in enumerate(units):
        kinds = [part[0] & 31 for part in _parts(unit)]
        if not unit.startswith(_START) or kinds != (_LATER_UNIT if index else _FIRST_UNIT):
            raise WireError(f"field body is not a plain H.264 stream: frame {index} has parts of kinds {kinds[:8]}")
    found = _dimensions(_parts(units[0])[0])
    if found != (height, width):
        raise WireError(
            f"field body is an H.264 stream of {found[0]} x {found[1]}, expected {height} x {width} (H x W)"
        )


def _parts(unit: bytes) -> list[bytes]:
    """The NAL units of an access unit, none of them empty; start codes cannot occur inside one."""
    return [part for part in (piece.rstrip(b"\0") for piece in unit.split(_START)) if part]


def _dimensions(sequence: bytes) -> tuple[int, int]:
    """Height and width in pixels as a sequence parameter set declares them (Rec. ITU-T H.264, 7.3.2.1.1).

    It is read up to two zero bytes, where escaped bytes would begin; in honest ones they come after these fields.
    """
    bits = _Bits(sequence[1:].split(b"\0\0")[0][:_HEADER_BYTES])
    profile = bits.take(8)
    bits.take(16)  # constraints, level
    bits.number()  # its own number
    colour = bits.number(), bits.number(), bits.number(), bits.take(2)  # chroma, depths less 8, lossless and scaling
    bits.number()  # length of frame numbers
    order = bits.number()  # 2: frames are shown in the order in which they are coded
    bits.number()  # reference frames
    gaps = bits.take(1)
    columns, rows = (_BLOCK * (bits.number() + 1) for _ in range(2))
    whole, _ = bits.take(1), bits.take(1)  # no fields; how motion is derived
    left, right, top, bottom = (2 * bits.number() for _ in range(4)) if bits.take(1) else (0, 0, 0, 0)
    if (profile, colour, order, gaps, whole) != (_HIGH, (1, 0, 0, 0), 2, 0, 1):
        raise WireError("field body is not a plain H.264 stream of High profile, 4:2:0, 8 bits and whole frames")
    if left or top or max(right, bottom) >= _BLOCK:
        raise WireError("field body is an H.264 stream that hides a part of its pictures")
    return rows - bottom, columns - right


class _Bits:
    """Bits of a header from the first to the last."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise WireError("field body has a truncated H.264 header")
        return (self._value >> self._left) & ((1 << count) - 1)

    def number(self) -> int:
        """The next exp-Golomb number."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros > _MOST_ZEROS:
            raise WireError("field body has an absurd number in its H.264 header")
        return (1 << zeros) - 1 + self.take(zeros)


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise InputError("H.264 needs PyAV: install it with pip install 'janus-vit[video]'") from error
    return av
