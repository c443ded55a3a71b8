"""One zstd frame of bounded work is decompressed, and nothing else."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import zstandard
from hostile_files import cpu_seconds, zstd_in_blocks, zstd_of_empty_blocks, zstd_of_tables

from janus_vit.errors import WireError
from janus_vit.wire.lossless import compress, decompress

MOST_BYTES = 602_112  # the float32 input at 224 px
SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip"


@pytest.mark.parametrize(
    "frame", [zstd_of_empty_blocks(200_000), zstd_of_tables(30_000), zstd_in_blocks(bytes(range(256)) * 400, 64)]
)
def test_a_frame_of_more_blocks_than_its_content_needs_is_refused_in_20_ms(frame: bytes) -> None:
    assert zstandard.get_frame_parameters(frame).content_size <= MOST_BYTES

    def refused() -> None:
        with pytest.raises(WireError, match="field body has a zstd frame of more than"):
            decompress(frame, MOST_BYTES)

    assert cpu_seconds(refused) < 0.02


def test_a_frame_of_a_few_small_blocks_is_taken() -> None:
    content = bytes(range(256)) * 4
    assert decompress(zstd_in_blocks(content, 200), MOST_BYTES) == content
    assert decompress(zstd_of_tables(5), MOST_BYTES) == bytes(23)


@pytest.mark.parametrize("level", [1, 3, 19])
def test_frames_of_every_level_are_taken(level: int) -> None:
    content = np.random.default_rng(0).integers(0, 40, MOST_BYTES, np.uint8).tobytes()
    assert decompress(compress(content, level), MOST_BYTES) == content


@pytest.mark.parametrize(
    "data",
    [
        SKIPPABLE,
        SKIPPABLE + compress(bytes(100)),
        compress(b""),
        compress(b"") + compress(bytes(100)),
        compress(bytes(100)) + compress(bytes(100)),
        compress(bytes(100)) + SKIPPABLE,
        compress(bytes(100))[:-1],
        compress(bytes(100))[:6],
        b"",
    ],
)
def test_all_but_one_whole_frame_with_content_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="field body has"):
        decompress(data, MOST_BYTES)


def test_a_window_beyond_the_content_is_refused() -> None:
    settings = zstandard.ZstdCompressionParameters.from_level(1, window_log=27, write_content_size=True)
    frame = bytearray(zstandard.ZstdCompressor(compression_params=settings).compress(bytes(MOST_BYTES)))
    assert decompress(bytes(frame), MOST_BYTES) == bytes(MOST_BYTES)
    wide = b"\x28\xb5\x2f\xfd" + bytes([0x80, 17 << 3]) + struct.pack("<I", 100) + frame[9:]  # 2^27 bytes
    with pytest.raises(WireError, match="asks for a zstd window of 134217728 bytes"):
        decompress(wide, MOST_BYTES)
