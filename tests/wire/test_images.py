"""Images and input tensors survive the wire, and nothing but the expected file is read."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, WebPImagePlugin

from janus_vit.errors import WireError
from janus_vit.planning.payloads import parse_payload, tensor_bytes
from janus_vit.wire.images import decode_image, decode_tensor, encode_image, encode_tensor
from janus_vit.wire.lossless import compress

HEIGHT, WIDTH = 37, 53
LOSSY = ("jpeg90", "webp90")
PLAIN = ("png", *LOSSY)
NAMES = (*PLAIN, *(f"{name}+zstd" for name in PLAIN))

plain_names = pytest.mark.parametrize("name", PLAIN)
all_names = pytest.mark.parametrize("name", NAMES)

Frame = npt.NDArray[np.uint8]


def smooth_frame(height: int = HEIGHT, width: int = WIDTH) -> Frame:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack((rows * 4, columns * 3, rows + columns), axis=-1).astype(np.uint8)


def encode(name: str) -> bytes:
    return encode_image(smooth_frame(), parse_payload(name))


def decode(data: bytes | memoryview, name: str, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    return decode_image(data, parse_payload(name), height, width)


def saved(container: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(smooth_frame())).save(file, container, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", ["png", "png+zstd"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (HEIGHT, WIDTH)])
def test_png_is_exact(name: str, shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    payload = parse_payload(name)
    assert np.array_equal(decode_image(encode_image(frame, payload), payload, *shape), frame)


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_image_is_close(name: str) -> None:
    error = decode(encode(name), name).astype(int) - smooth_frame()
    assert np.abs(error).mean() < 4


@pytest.mark.parametrize("family", ["jpeg", "webp"])
def test_a_lower_quality_is_smaller(family: str) -> None:
    sizes = [len(encode(f"{family}{quality}")) for quality in (1, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_jpeg_halves_the_chroma_planes() -> None:
    with Image.open(io.BytesIO(encode("jpeg90"))) as image:
        assert [layer[1:3] for layer in getattr(image, "layer")] == [(2, 2), (1, 1), (1, 1)]  # noqa: B009


@plain_names
def test_the_lossless_stage_changes_no_byte(name: str) -> None:
    assert encode(f"{name}+zstd") == compress(encode(name))


@plain_names
def test_noise_passes_the_limit_behind_zstd(name: str) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    payload = parse_payload(f"{name.replace('90', '100')}+zstd")
    assert decode_image(encode_image(frame, payload), payload, 64, 64).shape == (64, 64, 3)


@all_names
def test_the_result_may_be_written_to(name: str) -> None:
    frame = decode(memoryview(encode(name)), name)
    frame[:] = 0
    assert frame.dtype == np.uint8


@plain_names
def test_a_frame_that_is_a_view_is_taken(name: str) -> None:
    frame = smooth_frame()
    payload = parse_payload(name)
    assert encode_image(frame[:, ::-1], payload) == encode_image(np.ascontiguousarray(frame[:, ::-1]), payload)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))],
)
def test_what_is_no_frame_is_refused(frame: Frame) -> None:
    with pytest.raises(WireError, match="is not uint8"):
        encode_image(frame, parse_payload("png"))


def test_a_frame_that_the_format_cannot_hold_is_refused() -> None:
    with pytest.raises(WireError, match="does not fit webp90"):
        encode_image(np.zeros((1, 20_000, 3), np.uint8), parse_payload("webp90"))


@pytest.mark.parametrize("name", ["tensor", "float16"])
def test_a_payload_that_is_no_image_file_is_refused(name: str) -> None:
    with pytest.raises(WireError, match="is not an image format"):
        encode(name)
    with pytest.raises(WireError, match="is not an image format"):
        decode(b"", name)


@all_names
@pytest.mark.parametrize("shape", [(WIDTH, HEIGHT), (HEIGHT + 1, WIDTH), (HEIGHT, 1)])
def test_other_dimensions_are_refused(name: str, shape: tuple[int, int]) -> None:
    with pytest.raises(WireError, match=f"of {HEIGHT} x {WIDTH}, expected {shape[0]} x {shape[1]}"):
        decode(encode(name), name, *shape)


@plain_names
@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_another_format_is_refused(name: str, container: str) -> None:
    if not name.startswith(container.lower()):
        with pytest.raises(WireError, match="field body is not"):
            decode(saved(container), name)


@all_names
def test_every_truncation_is_refused(name: str) -> None:
    data = encode(name)
    for cut in range(0, len(data), 1 if len(data) < 2000 else 7):
        with pytest.raises(WireError, match="field body"):
            decode(data[:cut], name)


@pytest.mark.parametrize("name", ["webp90", "png", "png+zstd", "jpeg90+zstd"])
def test_bytes_behind_the_file_are_refused(name: str) -> None:
    with pytest.raises(WireError, match="field body"):
        decode(encode(name) + b"more", name)


def test_a_png_without_its_pixels_is_refused() -> None:
    data = encode("png")
    with pytest.raises(WireError, match="field body is not a readable PNG"):
        decode(data[:60] + data[-12:], "png")


@pytest.mark.parametrize("container", ["PNG", "WEBP"])
def test_an_animation_is_refused(container: str) -> None:
    frames = [Image.fromarray(smooth_frame() ^ np.uint8(index)) for index in (0, 85, 170)]
    with pytest.raises(WireError, match="field body is not a"):
        decode(saved(container, save_all=True, append_images=frames[1:]), {"PNG": "png", "WEBP": "webp90"}[container])


@pytest.mark.parametrize(
    ("container", "name", "mode"),
    [("JPEG", "jpeg90", "L"), ("JPEG", "jpeg90", "CMYK"), ("PNG", "png", "RGBA"), ("PNG", "png", "P")],
)
def test_other_colours_than_rgb_are_refused(container: str, name: str, mode: str) -> None:
    with pytest.raises(WireError, match="plain RGB"):
        decode(saved(container, Image.fromarray(smooth_frame()).convert(mode)), name)


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"Exif\0\0" + bytes(20)}])
def test_a_webp_of_another_kind_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="simple lossy WebP"):
        decode(saved("WEBP", **options), "webp90")


def test_a_progressive_jpeg_is_refused() -> None:
    with pytest.raises(WireError, match="plain RGB JPEG"):
        decode(saved("JPEG", progressive=True), "jpeg90")


def huge_png(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def huge_webp() -> bytes:
    data = bytearray(encode("webp90"))
    data[26:30] = b"\xff\x3f\xff\x3f"
    return bytes(data)


def huge_jpeg() -> bytes:
    data = bytearray(encode("jpeg90"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (huge_png(10_000), "png"),  # Pillow warns
        (huge_png(60_000), "png"),  # Pillow refuses
        (huge_png(9_000), "png"),  # Pillow says nothing
        (huge_webp(), "webp90"),
        (huge_jpeg(), "jpeg90"),
    ],
)
def test_huge_dimensions_are_refused_without_their_pixels(
    data: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(*_: object) -> None:
        pytest.fail("room for the pixels was made")

    monkeypatch.setattr(ImageFile.ImageFile, "load", allocate)
    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "_open", allocate)
    with pytest.raises(WireError, match="field body is"):
        decode(data, name)


def test_a_zip_bomb_around_an_image_is_refused() -> None:
    with pytest.raises(WireError, match="declares 67108864 bytes"):
        decode(compress(bytes(1 << 26)), "jpeg90+zstd")


@all_names
@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 100_000), flip=st.integers(1, 255))
def test_a_changed_byte_gives_a_frame_or_an_error(name: str, place: int, flip: int) -> None:
    data = bytearray(encode(name))
    data[place % len(data)] ^= flip
    assert_frame_or_refused(bytes(data), name)


@all_names
@settings(max_examples=50, deadline=None)
@given(garbage=st.binary(max_size=200), keep=st.integers(0, 700))
def test_garbage_gives_a_frame_or_an_error(name: str, garbage: bytes, keep: int) -> None:
    data = encode(name)
    assert_frame_or_refused(garbage, name)
    assert_frame_or_refused(data[:keep] + garbage + data[-12:], name)


def assert_frame_or_refused(data: bytes, name: str) -> None:
    try:
        frame = decode(data, name)
    except WireError:
        return
    assert frame.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("lossless", [False, True])
def test_an_input_tensor_is_exact(lossless: bool) -> None:
    pixels = torch.randn(3, 8, 10, dtype=torch.float64)
    data = encode_tensor(pixels.transpose(1, 2), lossless_stage=lossless)
    decoded = decode_tensor(data, (3, 10, 8), lossless_stage=lossless)
    assert torch.equal(decoded, pixels.transpose(1, 2).float())
    decoded.zero_()  # it may be written to


def test_an_input_tensor_has_exactly_the_planned_size() -> None:
    assert len(encode_tensor(torch.zeros(3, 8, 10))) == tensor_bytes(240)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39])
def test_an_input_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(WireError, match="not finite"):
        encode_tensor(torch.tensor([1.0, bad], dtype=torch.float64))
    with pytest.raises(WireError, match="not finite"):
        decode_tensor(torch.tensor([bad, 1.0]).numpy().tobytes(), (2,))


def test_an_empty_input_is_refused() -> None:
    with pytest.raises(WireError, match="is empty"):
        encode_tensor(torch.zeros(3, 0, 8))


@pytest.mark.parametrize("lossless", [False, True])
def test_an_input_of_another_length_is_refused(lossless: bool) -> None:
    data = encode_tensor(torch.zeros(3, 2, 2), lossless_stage=lossless)
    for wrong in (b"", data[:-1], data + b"\0", data * 2):
        with pytest.raises(WireError, match="field body"):
            decode_tensor(wrong, (3, 2, 2), lossless_stage=lossless)
    with pytest.raises(WireError, match=r"48 bytes.*(expected|at most) 36"):
        decode_tensor(data, (3, 3, 1), lossless_stage=lossless)
