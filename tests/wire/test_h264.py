"""Only plain H.264 streams of the expected size and number of frames reach the decoder."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import pytest
from clip_payloads import FRAMES, H264, HEIGHT, WIDTH, body_of, decode, encode, files_of, moving_clip

from janus_vit.errors import WireError


def stream(height: int = HEIGHT, width: int = WIDTH, codec: str = "libx264", **options: str) -> bytes:
    """Encode a body with another codec or other settings."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width, encoder.pix_fmt = height, width, options.pop("pix_fmt", "yuv420p")
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {"preset": "veryfast", "tune": "zerolatency", **options} if codec == "libx264" else options
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


def test_a_plain_stream_of_another_encoder_is_read() -> None:
    assert decode(without_metadata(stream()), H264).shape == (FRAMES, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"preset": "ultrafast"}, "plain H.264 stream of High profile"),  # Baseline
        ({"pix_fmt": "yuv422p"}, "plain H.264 stream of High profile"),
        ({"pix_fmt": "yuv444p"}, "plain H.264 stream of High profile"),
        ({"pix_fmt": "yuv420p10le"}, "plain H.264 stream of High profile"),
        ({"x264-params": "slices=2"}, "has NAL units of types"),
        ({"x264-params": "keyint=4"}, "has NAL units of types"),
        ({"x264-params": "bframes=2:sync-lookahead=0:rc-lookahead=0"}, "plain H.264 stream of High profile"),
    ],
)
def test_h264_of_another_kind_is_refused(options: dict[str, str], reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode(without_metadata(stream(**options)), H264)


def test_a_stream_with_metadata_is_refused() -> None:
    with pytest.raises(WireError, match=r"not a plain H.264 stream: frame 0"):
        decode(stream(), H264)


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "mjpeg"])
def test_another_codec_is_refused(codec: str) -> None:
    pixels = {"pix_fmt": "yuvj420p"} if codec == "mjpeg" else {}
    with pytest.raises(WireError, match=r"not a plain H.264 stream"):
        decode(stream(codec=codec, **pixels), H264)


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
        (header(512, 512, (0, 0, 0, 0)), "of 8192 x 8192, expected 38 x 54"),
        (header(512, 3, (0, 4069, 0, 5)), "crops its pictures"),  # 8192 wide behind a crop to 54
        (header(4, 512, (0, 5, 0, 4077)), "crops its pictures"),
        (header(4, 3, (5, 0, 5, 0)), "crops its pictures"),
        (header(1 << 14, 3, (0, 0, 0, 0)), "number that is too large"),
        (header(4, 3, (0, 5, 0, 5), profile=66), "of High profile"),
        (header(4, 3, (0, 5, 0, 5), whole=0), "and whole frames"),  # fields: twice as high
        (header(4, 3, (0, 5, 0, 5))[:6], "truncated H.264 header"),
        (b"\x67", "truncated H.264 header"),
        (b"\x67\x64" + b"\0" * 100_000 + b"\1", "truncated H.264 header"),
        (header(4, 3, (0, 5, 0, 5)) + b"\0\0\1" + header(512, 512, (0, 0, 0, 0)), r"types \[7, 7, 8, 5\]"),
    ],
)
def test_a_hostile_header_never_reaches_the_decoder(
    sequence: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = with_header(sequence)
    monkeypatch.setattr(av.CodecContext, "create", lambda *_: pytest.fail("the decoder was opened"))
    with pytest.raises(WireError, match=reason):
        decode(data, H264)


def test_a_second_header_in_a_later_frame_is_refused() -> None:
    files = files_of(encode(H264))
    files[4] = b"\0\0\1" + header(512, 512, (0, 0, 0, 0)) + files[4]
    with pytest.raises(WireError, match=r"frame 4 has NAL units of types \[7, 1\]"):
        decode(body_of(files), H264)


def test_frames_that_the_decoder_drops_are_missed() -> None:
    files = files_of(encode(H264))
    files[5] = files[5][:5]
    with pytest.raises(WireError, match="field body"):
        decode(body_of(files), H264)


@pytest.mark.parametrize("flood", [b"\0\0\1\x67" * 8_000, b"\0\0\1" * 10_000])
@pytest.mark.parametrize("place", [0, 5])
def test_a_flood_of_units_is_refused_before_it_is_taken_apart(flood: bytes, place: int) -> None:
    files = files_of(encode(H264))
    files[place] = flood
    with pytest.raises(WireError, match=f"frame {place} has more than 32 start codes"):
        decode(body_of(files), H264)


def test_zeros_after_a_frame_are_refused() -> None:
    files = files_of(encode(H264))
    files[3] += bytes(50_000)
    with pytest.raises(WireError, match="frame 3 has more than 32 start codes or ends with zeros"):
        decode(body_of(files), H264)
