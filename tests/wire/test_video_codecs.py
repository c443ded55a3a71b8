"""Streams of any encoder are read, and only those of the expected size and number of frames reach the decoder."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from clip_payloads import FRAMES, H264, H265, HEIGHT, WIDTH, body_of, decode, encode, files_of, moving_clip

from janus_vit.errors import WireError


def stream(height: int = HEIGHT, width: int = WIDTH, codec: str = "libx264", **options: str) -> bytes:
    """Encode a body with another codec or other settings."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width, encoder.pix_fmt = height, width, options.pop("pix_fmt", "yuv420p")
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    defaults = {
        "libx264": {"preset": "veryfast", "tune": "zerolatency"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none"},
    }
    encoder.options = {**defaults.get(codec, {}), **options}
    packets = []
    for index, frame in enumerate(moving_clip(FRAMES, height, width)):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts = index
        packets += encoder.encode(picture)
    return body_of([bytes(packet) for packet in packets + encoder.encode(None)])


def without_metadata(body: bytes) -> bytes:
    """Remove the metadata and the long start codes that x264 writes."""
    units = []
    for unit in files_of(body):
        parts = (part.rstrip(b"\0") for part in unit.split(b"\0\0\1"))
        units.append(b"".join(b"\0\0\1" + part for part in parts if part and part[0] & 31 != 6))
    return body_of(units)


# As the encoders in cameras, phones and graphics cards write them.
OF_HARDWARE: list[tuple[str, str, dict[str, str]]] = [
    (H264, "libx264", {}),  # with SEI and long start codes
    (H264, "libx264", {"profile": "baseline"}),
    (H264, "libx264", {"profile": "main"}),
    (H264, "libx264", {"x264-params": "slices=3"}),
    (H264, "libx264", {"x264-params": "slices=3:keyint=4:aud=1:nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500"}),
    (H264, "libx264", {"x264-params": "bframes=2:sync-lookahead=0:rc-lookahead=0"}),
    (H265, "libx265", {"tune": "zerolatency", "x265-params": "log-level=none:pools=none"}),
    (H265, "libx265", {"x265-params": "log-level=none:pools=none:keyint=4:aud=1:repeat-headers=1"}),
]


@pytest.mark.parametrize(("name", "codec", "options"), OF_HARDWARE)
def test_streams_of_other_encoders_are_read_in_display_order(name: str, codec: str, options: dict[str, str]) -> None:
    decoded = decode(stream(codec=codec, **options), name).astype(int)
    errors = np.abs(decoded[:, None] - moving_clip()[None]).mean(axis=(2, 3, 4))
    assert errors.argmin(axis=1).tolist() == list(range(FRAMES))
    assert errors.diagonal().max() < 8


def test_metadata_changes_no_pixel() -> None:
    assert np.array_equal(decode(stream(), H264), decode(without_metadata(stream()), H264))


def test_zeros_after_a_frame_change_no_pixel() -> None:
    files = files_of(encode(H264))
    files[3] += bytes(1000)
    assert np.array_equal(decode(body_of(files), H264), decode(encode(H264), H264))


@pytest.mark.parametrize("pixels", ["yuv422p", "yuv444p", "yuv420p10le"])
def test_h264_of_other_pixels_is_refused(pixels: str) -> None:
    with pytest.raises(WireError, match=f"field body has pixels of {pixels}: encode 4:2:0 of 8 bits"):
        decode(stream(pix_fmt=pixels), H264)


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "mjpeg", "libx265"])
def test_another_codec_is_refused(codec: str) -> None:
    pixels = {"pix_fmt": "yuvj420p"} if codec == "mjpeg" else {}
    with pytest.raises(WireError, match=r"not a plain H.264 stream: frame 0"):
        decode(stream(codec=codec, **pixels), H264)


def test_h264_is_no_h265() -> None:
    with pytest.raises(WireError, match=r"not a plain H.265 stream: frame 0"):
        decode(stream(), H265)


@pytest.mark.parametrize(("name", "codec"), [(H264, "libx264"), (H265, "libx265")])
def test_a_stream_of_another_size_never_reaches_the_decoder(
    name: str, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stream(64, 64, codec)
    monkeypatch.setattr(av.VideoCodecContext, "decode", lambda *_: pytest.fail("the decoder was used"))
    with pytest.raises(WireError, match="frame 0 is of 64 x 64, expected 38 x 54"):
        decode(data, name)


def number(value: int) -> str:
    """The bits of an exp-Golomb number."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def header(columns: int, rows: int, crop: tuple[int, int, int, int], profile: int = 100, whole: int = 1) -> bytes:
    """A sequence parameter set as x264 writes it, for so many macroblocks."""
    bits = f"{profile:08b}{0:08b}{12:08b}" + number(0) + number(1) + number(0) * 2 + "00"
    bits += number(0) + number(2) + number(1) + "0" + number(columns - 1) + number(rows - 1) + f"{whole}1"
    bits += "1" + "".join(map(number, crop)) + "0" + "1"
    bits += "0" * (-len(bits) % 8)
    return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def with_header(sequence: bytes) -> bytes:
    first, *others = files_of(encode(H264))
    _, _, picture, key = first.split(b"\0\0\1")
    return body_of([b"".join(b"\0\0\1" + part for part in (sequence, picture, key)), *others])


def test_the_header_of_these_tests_is_the_right_one() -> None:
    assert decode(with_header(header(4, 3, (0, 5, 0, 5))), H264).shape == (FRAMES, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("sequence", "reason"),
    [
        (header(512, 512, (0, 0, 0, 0)), "is of 8192 x 8192, expected 38 x 54"),
        (header(512, 3, (0, 4069, 0, 5)), "crops its pictures, which have 48 x 8192 pixels"),
        (header(4, 512, (0, 5, 0, 4077)), "crops its pictures, which have 8192 x 64 pixels"),
        (header(1 << 14, 3, (0, 0, 0, 0)), "frame 0 has no parameter sets"),
        (header(4, 3, (0, 5, 0, 5), whole=0), "is of 72 x 54, expected"),  # fields: twice as high
        (header(4, 3, (0, 5, 0, 5))[:6], "frame 0 has no parameter sets with dimensions"),
        (b"\x67", "frame 0 has no parameter sets with dimensions"),
        (b"\x67\x64" + b"\0" * 100_000 + b"\1", "frame 0 has no parameter sets with dimensions"),
    ],
)
def test_a_hostile_header_never_reaches_the_decoder(
    sequence: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = with_header(sequence)
    monkeypatch.setattr(av.VideoCodecContext, "decode", lambda *_: pytest.fail("the decoder was used"))
    with pytest.raises(WireError, match=reason):
        decode(data, H264)


def test_a_larger_picture_in_a_later_frame_never_reaches_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(encode(H264))
    files[4] = files_of(with_header(header(512, 512, (0, 0, 0, 0))))[0]
    monkeypatch.setattr(av.VideoCodecContext, "decode", lambda *_: pytest.fail("the decoder was used"))
    with pytest.raises(WireError, match="frame 4 is of 8192 x 8192, expected 38 x 54"):
        decode(body_of(files), H264)


def test_a_header_that_the_parser_cannot_place_does_not_enlarge_the_picture() -> None:
    """A sequence parameter set alone: only the decoder, which knows the rest, could use it."""
    files = files_of(encode(H264))
    files[4] = b"\0\0\1" + header(512, 512, (0, 0, 0, 0)) + files[4]
    assert decode(body_of(files), H264).shape == (FRAMES, HEIGHT, WIDTH, 3)


def test_two_pictures_in_one_unit_are_refused() -> None:
    first, *others = files_of(encode(H264))
    with pytest.raises(WireError, match="frame 0 holds 2 access units, expected 1"):
        decode(body_of([first + first, *others]), H264)


def test_frames_that_the_decoder_drops_are_missed() -> None:
    files = files_of(encode(H264))
    files[5] = files[5][:5]
    with pytest.raises(WireError, match="field body"):
        decode(body_of(files), H264)


@pytest.mark.parametrize("name", [H264, H265])
@pytest.mark.parametrize("flood", [b"\0\0\1\x67" * 8_000, b"\0\0\1" * 10_000])
@pytest.mark.parametrize("place", [0, 5])
def test_a_flood_of_units_is_refused_before_it_is_taken_apart(name: str, flood: bytes, place: int) -> None:
    files = files_of(encode(name))
    files[place] = flood
    with pytest.raises(WireError, match=f"frame {place} has more than 128 start codes"):
        decode(body_of(files), name)
