"""Files that cost more to decode than their pixels are refused before a decoder sees them."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hostile_files import (
    chunk,
    cpu_seconds,
    jpeg,
    jpeg_with,
    jpeg_with_scans,
    jpeg_with_scans_first,
    noise_frame,
    png,
    png_header,
    png_in_pieces,
    png_text_bomb,
    png_with_more_pixels,
    segment,
)
from PIL import Image

from janus_vit.errors import WireError
from janus_vit.planning.payloads import parse_payload
from janus_vit.wire import images
from janus_vit.wire.clips import decode_clip
from janus_vit.wire.containers import plain_jpeg, plain_png
from janus_vit.wire.images import decode_image, encode_image
from janus_vit.wire.lossless import compress

SIDE = 224
MOST_S = 0.02  # what one message may cost at 224 px
FILE_BYTES = 300_000  # what fits behind zstd
PHOTOSHOP = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5_000
EXIF = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 5_000) + struct.pack(">HHII", 0x8000, 2, 4, 0) * 5_000


def decode(file: bytes, name: str, side: int = SIDE) -> np.ndarray:
    return decode_image(compress(file), parse_payload(f"{name}+zstd"), side, side)


def filled(part: bytes) -> list[bytes]:
    """The part as often as it fits into a file."""
    return [part] * (FILE_BYTES // len(part))


def huffman_table(values: int) -> bytes:
    return segment(0xC4, bytes([0, 0, values, *[0] * 14]) + bytes(range(values)))


def webp_with(chunks: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise_frame(SIDE, SIDE)).save(file, "WEBP", quality=90, method=0)
    whole = file.getvalue() + chunks
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


COSTLY = {
    "png iCCP": ("png", png(SIDE, SIDE, filled(png_text_bomb(b"iCCP")))),
    "png iCCP after the pixels": ("png", png(SIDE, SIDE, after=filled(png_text_bomb(b"iCCP")))),
    "png zTXt": ("png", png(SIDE, SIDE, filled(png_text_bomb(b"zTXt")))),
    "png iTXt": ("png", png(SIDE, SIDE, filled(png_text_bomb(b"iTXt")))),
    "png tEXt": ("png", png(SIDE, SIDE, filled(chunk(b"tEXt", b"k\0v")))),
    "png unknown chunks": ("png", png(SIDE, SIDE, filled(chunk(b"abCd")))),
    "png empty pixel chunks": ("png", png_in_pieces(SIDE, SIDE, 25_000)),
    "png empty pixel chunks last": ("png", png(SIDE, SIDE, after=filled(chunk(b"IDAT")))),
    "jpeg scans": ("jpeg90", jpeg_with_scans(FILE_BYTES // 12, SIDE, SIDE)),
    "jpeg scans first": ("jpeg90", jpeg_with_scans_first(FILE_BYTES // 12, SIDE, SIDE)),
    "jpeg progressive": ("jpeg90", jpeg(SIDE, SIDE, progressive=True)),
    "jpeg comments": ("jpeg90", jpeg_with(filled(segment(0xFE)), SIDE, SIDE)),
    "jpeg quantisation tables": ("jpeg90", jpeg_with(filled(segment(0xDB, bytes(65))), SIDE, SIDE)),
    "jpeg tables in one segment": ("jpeg90", jpeg_with([segment(0xDB, bytes(65) * 1000)] * 4, SIDE, SIDE)),
    "jpeg Huffman tables": ("jpeg90", jpeg_with(filled(huffman_table(3)), SIDE, SIDE)),
    "jpeg frames": ("jpeg90", jpeg_with(filled(segment(0xC0, b"\x08\0\xe0\0\xe0\3" + bytes(9))), SIDE, SIDE)),
    "jpeg fill bytes": ("jpeg90", jpeg_with([b"\xff" * 300_000], SIDE, SIDE)),
    "jpeg junk": ("jpeg90", jpeg_with([bytes(300_000)], SIDE, SIDE)),
    "jpeg segment that is cut off": ("jpeg90", b"\xff\xd8" + b"\xff\xe1\xff\xff" + b"\xff\xd9"),
    "jpeg without pixels": ("jpeg90", b"\xff\xd8\xff\xda\0\2\xff\xd9"),
    "webp unknown chunks": ("webp90", webp_with(b"JUNK\0\0\0\0" * 30_000)),
    "webp frames": ("webp90", webp_with((b"ANMF" + struct.pack("<I", 16) + bytes(16)) * 10_000)),
}
HARMLESS = {
    "png metadata": ("png", png(SIDE, SIDE, [png_text_bomb(kind) for kind in (b"iCCP", b"zTXt", b"iTXt")])),
    "png Exif": ("png", png(SIDE, SIDE, [chunk(b"eXIf", EXIF[6:])])),
    "png more pixels": ("png", png_with_more_pixels(SIDE, SIDE, 100_000_000)),
    "jpeg Photoshop": ("jpeg90", jpeg_with([segment(0xED, PHOTOSHOP)] * 4, SIDE, SIDE)),
    "jpeg Exif": ("jpeg90", jpeg_with([segment(0xE1, EXIF)] * 4, SIDE, SIDE)),
    "jpeg comments": ("jpeg90", jpeg_with([segment(0xFE, bytes(65_000))] * 4, SIDE, SIDE)),
    "jpeg restarts": ("jpeg90", jpeg(SIDE, SIDE)[:-2] + b"\xff\xd0" * 120_000 + b"\xff\xd9"),
    "jpeg tables after the pixels": ("jpeg90", jpeg(SIDE, SIDE)[:-2] + huffman_table(3) * 9_000 + b"\xff\xd9"),
}


@pytest.mark.parametrize(("name", "file"), COSTLY.values(), ids=COSTLY.keys())
def test_a_file_that_costs_more_than_its_pixels_is_refused_in_20_ms(name: str, file: bytes) -> None:
    def refused() -> None:
        with pytest.raises(WireError, match="field body is not a"):
            decode(file, name)

    assert cpu_seconds(refused) < MOST_S


@pytest.mark.parametrize(("name", "file"), HARMLESS.values(), ids=HARMLESS.keys())
def test_what_is_not_decoded_costs_nothing(name: str, file: bytes) -> None:
    assert cpu_seconds(lambda: decode(file, name)) < MOST_S


def test_a_clip_of_such_files_is_refused_at_its_first_frame() -> None:
    file = png(SIDE, SIDE, filled(png_text_bomb(b"iCCP")))
    body = compress(struct.pack("<17I", 16, *[len(file)] * 16) + file * 16)

    def refused() -> None:
        with pytest.raises(WireError, match="more chunks than its pixels need"):
            decode_clip(body, parse_payload("png+zstd"), 16, SIDE, SIDE)

    assert cpu_seconds(refused) < MOST_S


@pytest.mark.parametrize("frames", [1, 3])
def test_an_animated_png_is_refused_however_few_frames_it_has(frames: int) -> None:
    control = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 0, 0, 1, 1, 0, 0))
    with pytest.raises(WireError, match="of one frame"):
        decode(png(SIDE, SIDE, [chunk(b"acTL", struct.pack(">II", frames, 0)), control]), "png")


@pytest.mark.parametrize("depth", [1, 2, 4, 16])
def test_a_png_of_another_depth_is_refused(depth: int) -> None:
    with pytest.raises(WireError, match="plain RGB PNG"):
        decode(png(SIDE, SIDE, header=png_header(SIDE, SIDE, depth=depth)), "png")


@pytest.mark.parametrize("marker", [0xC2, 0xC3, 0xC5, 0xC9, 0xCB])
def test_a_jpeg_of_another_coding_is_refused(marker: int) -> None:
    file = jpeg(SIDE, SIDE).replace(b"\xff\xc0", bytes([0xFF, marker]))
    with pytest.raises(WireError, match="plain RGB JPEG"):
        decode(file, "jpeg90")


@pytest.mark.parametrize("change", [(4, 12), (9, 1), (9, 4)])
def test_a_jpeg_of_another_precision_or_colour_is_refused(change: tuple[int, int]) -> None:
    file = bytearray(jpeg(SIDE, SIDE))
    file[file.index(b"\xff\xc0") + change[0]] = change[1]
    with pytest.raises(WireError, match="plain RGB JPEG"):
        decode(bytes(file), "jpeg90")


def test_a_body_that_is_longer_than_any_valid_file_is_refused() -> None:
    with pytest.raises(WireError, match="expected at most 366592"):
        decode_image(bytes(400_000), parse_payload("jpeg90"), SIDE, SIDE)


def test_metadata_changes_no_pixel() -> None:
    plain = jpeg(SIDE, SIDE)
    described = jpeg_with([segment(0xE1, EXIF), segment(0xE2, b"ICC_PROFILE\0\1\1"), segment(0xFE, b"x")], SIDE, SIDE)
    assert plain_jpeg(described, SIDE, SIDE) == plain
    assert np.array_equal(decode(described, "jpeg90"), decode(plain, "jpeg90"))
    assert plain_png(png(9, 9, [png_text_bomb(b"iCCP")], [chunk(b"tIME", bytes(7))]), 9, 9) == png(9, 9)


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:4:4", "optimize": True, "quality": 50},
        {"subsampling": "4:2:2", "restart_marker_blocks": 1},
        {"dpi": (300, 300), "comment": b"camera", "exif": EXIF[:10] + b"\0\0\0\x08\0\0"},
    ],
)
def test_jpeg_files_of_other_encoders_are_taken(options: dict[str, Any]) -> None:
    file = jpeg(SIDE, SIDE, **options)
    with Image.open(io.BytesIO(file)) as image:
        assert np.array_equal(decode(file, "jpeg90"), np.asarray(image))


@pytest.mark.parametrize("name", ["jpeg1", "jpeg50", "jpeg100", "png", "webp80"])
def test_our_own_files_reach_the_decoder_as_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    payload, seen = parse_payload(name), []
    file = encode_image(noise_frame(SIDE, SIDE), payload)
    opened = images._open
    monkeypatch.setattr(images, "_open", lambda file, *rest: seen.append(file) or opened(file, *rest))
    decode_image(file, payload, SIDE, SIDE)
    assert seen[0] is file
