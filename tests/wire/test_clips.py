"""Clips survive the wire, and nothing but the expected frames is read."""

from __future__ import annotations

import struct
import sys

import av
import numpy as np
import pytest
from clip_payloads import (
    FRAMES,
    H264,
    H265,
    HEIGHT,
    PLAIN,
    WIDTH,
    all_names,
    body_of,
    decode,
    encode,
    files_of,
    moving_clip,
    plain_names,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_vit.errors import DeadlineExceeded, InputError, WireError
from janus_vit.planning.payloads import parse_payload
from janus_vit.wire.clips import Clip, decode_clip
from janus_vit.wire.images import encode_image
from janus_vit.wire.lossless import compress


@pytest.mark.parametrize("name", ["png", "png+zstd"])
def test_png_is_exact(name: str) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    assert np.array_equal(decode(encode(name, clip), name), clip)


@pytest.mark.parametrize("name", ["jpeg90", "webp90", "h264q10", H264, H265])
def test_a_lossy_clip_is_close(name: str) -> None:
    error = np.abs(decode(encode(name), name).astype(int) - moving_clip())
    assert error.mean() < 4
    assert error.mean(axis=(1, 2, 3)).max() < 6  # in every single frame


@pytest.mark.parametrize("shape", [(1, 64, 64), (8, 1, 1), (16, 37, 53), (2, 40, 2), (70, 16, 16)])
def test_h264_takes_any_length_and_odd_sides(shape: tuple[int, int, int]) -> None:
    assert decode(encode(H264, moving_clip(*shape)), H264, *shape).shape == (*shape, 3)


@pytest.mark.parametrize("name", [H264, H265])
def test_frames_of_a_video_come_in_order(name: str) -> None:
    decoded = decode(encode(name), name).astype(int)
    errors = np.abs(decoded[:, None] - moving_clip()[None]).mean(axis=(2, 3, 4))
    assert errors.argmin(axis=1).tolist() == list(range(FRAMES))


def test_h264_is_far_smaller_than_frames_one_by_one() -> None:
    assert len(encode(H264)) < len(encode("jpeg75")) / 2


def test_less_is_larger_in_h264() -> None:
    sizes = [len(encode(f"h264q{crf}")) for crf in (1, 23, 51)]
    assert sizes == sorted(set(sizes), reverse=True)


def test_equal_clips_give_equal_bytes() -> None:
    assert encode(H264) == encode(H264)


@plain_names
def test_the_lossless_stage_is_around_all_frames(name: str) -> None:
    assert encode(f"{name}+zstd") == compress(encode(name))


@all_names
def test_the_result_may_be_written_to(name: str) -> None:
    clip = decode(memoryview(encode(name)), name)
    clip[:] = 0
    assert clip.dtype == np.uint8
    assert clip.shape == (FRAMES, HEIGHT, WIDTH, 3)


@plain_names
def test_a_clip_that_is_a_view_is_taken(name: str) -> None:
    view = moving_clip()[::2, :, ::-1]
    assert encode(name, view) == encode(name, np.ascontiguousarray(view))


@pytest.mark.parametrize("name", ["png", H264])
@pytest.mark.parametrize(
    "clip",
    [
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 1), np.uint8),
        np.zeros((2, 4, 4, 3)),
    ],
)
def test_what_is_no_clip_is_refused(name: str, clip: Clip) -> None:
    with pytest.raises(WireError, match=r"is not uint8 \[T, H, W, 3\]"):
        encode(name, clip)


@pytest.mark.parametrize("name", ["webp90", H264])
def test_a_clip_that_the_format_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(WireError, match=f"does not fit {name}"):
        encode(name, np.zeros((1, 2, 20_000, 3), np.uint8))


@pytest.mark.parametrize("name", ["tensor", "tensor+zstd", "float16"])
def test_a_payload_that_is_no_clip_file_is_refused(name: str) -> None:
    with pytest.raises(WireError, match="is not a clip format"):
        encode(name)
    with pytest.raises(WireError, match="is not a clip format"):
        decode(b"", name)


@pytest.mark.parametrize(
    "name", ["h264", "h264q", "h264q0", "h264q52", "h264q023", "h264q99", "h265q0", "h266q23", "H264q23"]
)
def test_a_format_of_another_name_is_unknown(name: str) -> None:
    with pytest.raises(InputError, match=r"is unknown: .*h264q1\.\.h264q51, h265q1\.\.h265q51 for clips"):
        parse_payload(name)


def test_quality_orders_rate_factors() -> None:
    payloads = [parse_payload(f"h264q{crf}") for crf in range(1, 52)]
    assert [payload.crf for payload in payloads] == list(range(1, 52))
    qualities = [payload.quality for payload in payloads]
    assert qualities[0] == 100
    assert qualities[-1] == 1
    assert qualities == sorted(set(qualities), reverse=True)
    assert parse_payload("jpeg75").quality == 75


def test_only_h264_is_of_clips_alone() -> None:
    assert [parse_payload(name).of_clips for name in ("float16", "tensor", *PLAIN)] == [False] * 5 + [True]
    assert not parse_payload(H264).is_fixed_size


@all_names
@pytest.mark.parametrize("frames", [1, FRAMES - 1, FRAMES + 1, 1000])
def test_another_number_of_frames_is_refused(name: str, frames: int) -> None:
    with pytest.raises(WireError, match=f"has {FRAMES} frames, expected {frames}"):
        decode(encode(name), name, frames)


@all_names
@pytest.mark.parametrize("shape", [(WIDTH, HEIGHT), (HEIGHT + 2, WIDTH), (HEIGHT, 16)])
def test_other_dimensions_are_refused(name: str, shape: tuple[int, int]) -> None:
    with pytest.raises(WireError, match=f"of {HEIGHT} x {WIDTH}, expected {shape[0]} x {shape[1]}"):
        decode(encode(name), name, FRAMES, *shape)


@plain_names
def test_every_truncation_is_refused(name: str) -> None:
    data = encode(name)
    for cut in (*range(60), *range(60, len(data), 97), len(data) - 1):
        with pytest.raises(WireError, match="field body"):
            decode(data[:cut], name)


@all_names
def test_surplus_bytes_are_refused(name: str) -> None:
    with pytest.raises(WireError, match="field body"):
        decode(encode(name) + b"more", name)


@plain_names
@pytest.mark.parametrize("length", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_absurd_lengths_are_refused(name: str, length: int) -> None:
    data = encode(name)
    for frame in (0, FRAMES - 1):
        at = 4 + 4 * frame
        with pytest.raises(WireError, match=r"field body has .* bytes, but its lengths add up to"):
            decode(data[:at] + struct.pack("<I", length) + data[at + 4 :], name)


@plain_names
def test_an_empty_frame_is_refused(name: str) -> None:
    files = files_of(encode(name))
    for frame in (0, FRAMES - 1):
        with pytest.raises(WireError, match="field body is not"):
            decode(body_of([*files[:frame], b"", *files[frame + 1 :]]), name)


def test_a_frame_of_another_format_is_refused() -> None:
    files = files_of(encode("jpeg90"))
    files[3] = encode_image(moving_clip()[3], parse_payload("png"))
    with pytest.raises(WireError, match="field body is not a complete JPEG"):
        decode(body_of(files), "jpeg90")


def test_frames_instead_of_a_stream_are_refused() -> None:
    with pytest.raises(WireError, match=r"not a plain H.264 stream"):
        decode(encode("jpeg90"), H264)


def test_a_zip_bomb_around_a_clip_is_refused() -> None:
    with pytest.raises(WireError, match="declares 67108864 bytes"):
        decode(compress(bytes(1 << 26)), "h264q23+zstd")


@all_names
@settings(max_examples=40, deadline=None)
@given(place=st.integers(0, 100_000), flip=st.integers(1, 255))
def test_a_changed_byte_gives_a_clip_or_an_error(name: str, place: int, flip: int) -> None:
    data = bytearray(encode(name))
    data[place % len(data)] ^= flip
    assert_clip_or_refused(bytes(data), name)


@settings(max_examples=100, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 255)), max_size=30), frame=st.integers(0, 7))
def test_changed_bytes_of_h264_give_a_clip_or_an_error(changes: list[tuple[int, int]], frame: int) -> None:
    files = files_of(encode(H264))
    damaged = bytearray(files[frame])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    files[frame] = bytes(damaged)
    assert_clip_or_refused(body_of(files), H264)


@all_names
@settings(max_examples=40, deadline=None)
@given(garbage=st.binary(max_size=200), keep=st.integers(0, 700))
def test_garbage_gives_a_clip_or_an_error(name: str, garbage: bytes, keep: int) -> None:
    data = encode(name)
    assert_clip_or_refused(garbage, name)
    assert_clip_or_refused(data[:keep] + garbage + data[keep + len(garbage) :], name)


def assert_clip_or_refused(data: bytes, name: str) -> None:
    try:
        clip = decode(data, name)
    except WireError:
        return
    assert clip.shape == (FRAMES, HEIGHT, WIDTH, 3)


def test_missing_pyav_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(H264)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'janus-vit\[video\]'"):
        encode(H264)
    with pytest.raises(InputError, match=r"pip install 'janus-vit\[video\]'"):
        decode(data, H264)
    assert decode(encode("png"), "png").shape == (FRAMES, HEIGHT, WIDTH, 3)


def test_a_pyav_that_only_decodes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(H264)
    monkeypatch.setattr(av, "codecs_available", {"h264"})
    with pytest.raises(InputError, match="needs PyAV with libx264"):
        encode(H264)
    assert decode(data, H264).shape == (FRAMES, HEIGHT, WIDTH, 3)


@all_names
def test_decoding_stops_before_a_frame_when_the_caller_says_so(name: str) -> None:
    asked = []

    def stop_at_the_third() -> None:
        asked.append(len(asked))
        if len(asked) == 3:
            raise DeadlineExceeded("too late")

    with pytest.raises(DeadlineExceeded, match="too late"):
        decode_clip(encode(name), parse_payload(name), FRAMES, HEIGHT, WIDTH, stop_at_the_third)
    assert asked == [0, 1, 2]


@plain_names
def test_a_body_that_is_longer_than_any_valid_clip_is_refused(name: str) -> None:
    with pytest.raises(WireError, match="expected at most"):
        decode(bytes(2_000_000), name)
