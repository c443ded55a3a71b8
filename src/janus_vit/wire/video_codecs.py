"""Encode and decode the frames of a clip as H.264 or H.265, with PyAV, the extra `janus-vit[video]`.

Streams are lists of access units, one per frame, in Annex B form (Rec. ITU-T H.264 and H.265). Those of any encoder are
read, such as the encoders in cameras and phones: any profile with 8 bits and 4:2:0, several slices, SEI, B-frames.

FFmpeg's parser reads the dimensions before its decoder sees a byte, and the decoder refuses larger pictures that
follow, so that a malicious stream cannot make it allocate more than the expected frames. These formats have no
checksum: a byte that is corrupted inside a frame can change pixels without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from janus_vit.errors import InputError, JanusError, WireError
from janus_vit.planning.payloads import PayloadFormat

Clip = npt.NDArray[np.uint8]

_START_CODE = b"\0\0\1"
_MAX_START_CODES = 128  # in one frame; encoders write a few parameter sets, and at most some tens of slices
_LARGEST_BLOCK = 64  # pixels: coded pictures are whole blocks
_PIXEL_FORMATS = ("yuv420p", "yuvj420p")
_H264_METADATA = (6, 9, 12)  # nal_unit_type of SEI, delimiters and filler


@dataclass(frozen=True, slots=True)
class _Codec:
    """A video codec.

    Attributes:
        name: name in error messages.
        decoder: FFmpeg's name of the decoder.
        encoder: FFmpeg's name of the encoder.
        options: fast settings of the encoder: one key frame, no B-frames.
    """

    name: str
    decoder: str
    encoder: str
    options: Mapping[str, str]


_CODECS = {
    "h264": _Codec(
        "H.264", "h264", "libx264", {"preset": "veryfast", "tune": "zerolatency", "x264-params": "scenecut=0"}
    ),
    "h265": _Codec(
        "H.265",
        "hevc",
        "libx265",
        {
            "preset": "superfast",
            "tune": "zerolatency",
            "x265-params": "log-level=none:info=0:scenecut=0:pools=none:frame-threads=1:repeat-headers=1",
        },
    ),
}


def encode_video(clip: Clip, payload: PayloadFormat) -> list[bytes]:
    """Encode a clip, uint8 [T, H, W, 3]; return one access unit per frame.

    Odd sides repeat their last row or column, because 4:2:0 halves both.

    Raises:
        WireError: the clip does not fit the format.
        InputError: PyAV or its encoder is not installed.
    """
    av, codec = _import_pyav(), _CODECS[payload.video_codec]
    if codec.encoder not in av.codecs_available:
        raise InputError(f"payload {payload.name} needs PyAV with {codec.encoder}: pip install av")
    frames, height, width = clip.shape[:3]
    even = np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    try:
        encoder = av.CodecContext.create(codec.encoder, "w")
        encoder.height, encoder.width, encoder.pix_fmt = *even.shape[1:3], "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)  # required, not used here
        encoder.gop_size, encoder.thread_count = frames, 1
        encoder.options = {**codec.options, "crf": str(payload.crf)}
        packets = []
        for index, frame in enumerate(even):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = index
            packets += encoder.encode(picture)
        units = [bytes(packet) for packet in packets + encoder.encode(None)]
    except Exception as error:  # PyAV raises its own exception types and some of Python's
        raise WireError(f"a clip of {list(clip.shape)} does not fit {payload.name}: {error}") from error
    return [_strip_h264_metadata(unit) for unit in units] if codec.decoder == "h264" else units


def _strip_h264_metadata(access_unit: bytes) -> bytes:
    """Remove what a decoder does not need, such as the 700 bytes in which x264 describes its settings."""
    parts = (piece.rstrip(b"\0") for piece in access_unit.split(_START_CODE))
    return b"".join(_START_CODE + part for part in parts if part and part[0] & 31 not in _H264_METADATA)


def decode_video(
    access_units: Sequence[bytes],
    payload: PayloadFormat,
    height: int,
    width: int,
    before_frame: Callable[[], None] = lambda: None,
) -> Clip:
    """Decode one access unit per frame into a writable clip, uint8 [frames, height, width, 3].

    Args:
        access_units: in decoding order; frames come out in display order.
        payload: format of the stream.
        height: expected height of each frame.
        width: expected width of each frame.
        before_frame: called before each access unit is decoded; an exception stops the decoding.

    Raises:
        WireError: the stream does not hold that many frames of these dimensions, or is damaged.
        InputError: PyAV is not installed.
    """
    av, codec = _import_pyav(), _CODECS[payload.video_codec]
    even = height + height % 2, width + width % 2
    for index, unit in enumerate(access_units):
        _check_unit(av, codec, unit, index, even)
    try:
        decoder = av.CodecContext.create(codec.decoder, "r")
        decoder.thread_count = 1
        decoder.options = {"err_detect": "explode", "max_pixels": str(_most_pixels(even))}
        pictures = []
        for unit in access_units:
            before_frame()
            pictures += decoder.decode(av.Packet(unit))
        pictures += decoder.decode(None)
        convert = av.video.reformatter.VideoReformatter().reformat
        clip = []
        for picture in pictures:
            if picture.format.name not in _PIXEL_FORMATS:
                raise WireError(f"field body has pixels of {picture.format.name}: encode 4:2:0 of 8 bits")
            if (picture.height, picture.width) != even or picture.is_corrupt:
                raise WireError(f"field body has a damaged {codec.name} frame")
            clip.append(convert(picture, format="rgb24").to_ndarray()[:height, :width])
    except JanusError:
        raise
    except Exception as error:  # PyAV raises its own exception types and some of Python's
        raise WireError(f"field body is not a readable {codec.name} stream") from error
    if len(clip) != len(access_units):
        raise WireError(f"field body has {len(clip)} readable {codec.name} frames, expected {len(access_units)}")
    return np.stack(clip)


def _check_unit(av: Any, codec: _Codec, unit: bytes, index: int, size: tuple[int, int]) -> None:
    """Check one access unit before the decoder sees it.

    A parser knows the dimensions only of units with parameter sets, as the first one must be.
    """
    what = f"field body is not a plain {codec.name} stream: frame {index}"
    if unit.count(_START_CODE) > _MAX_START_CODES:
        raise WireError(f"{what} has more than {_MAX_START_CODES} start codes")
    try:
        parser = av.CodecContext.create(codec.decoder, "r")
        packets = parser.parse(unit) + parser.parse(None)
    except Exception as error:  # PyAV raises its own exception types and some of Python's
        raise WireError(f"{what} cannot be parsed") from error
    if len(packets) != 1:
        raise WireError(f"{what} holds {len(packets)} access units, expected 1")
    found, coded = (parser.height, parser.width), (parser.coded_height, parser.coded_width)
    if not index and 0 in found:
        raise WireError(f"{what} has no parameter sets with dimensions")
    if 0 in found:
        return
    if found != size:
        raise WireError(f"{what} is of {found[0]} x {found[1]}, expected {size[0]} x {size[1]} (H x W)")
    if any(each >= shown + _LARGEST_BLOCK for each, shown in zip(coded, found, strict=True)):
        raise WireError(f"{what} crops its pictures, which have {coded[0]} x {coded[1]} pixels")


def _most_pixels(size: tuple[int, int]) -> int:
    """Return the most pixels of a coded picture. FFmpeg rounds its width up to more than a block."""
    return (size[0] + _LARGEST_BLOCK) * (size[1] + 2 * _LARGEST_BLOCK)


def _import_pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise InputError("H.264 and H.265 need PyAV: install it with pip install 'janus-vit[video]'") from error
    return av
