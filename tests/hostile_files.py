"""Small generators of PNG, JPEG, WebP and zstd data that no encoder of ours writes."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable, Iterable

import numpy as np
import zstandard
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MEGABYTE_OF_ZEROS = zlib.compress(bytes(1 << 20), 9)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Least CPU time of three runs in this thread."""
    times_s = []
    for _ in range(3):
        began_s = time.thread_time()
        work()
        times_s.append(time.thread_time() - began_s)
    return min(times_s)


def noise_frame(height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(height: int, width: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png_pixels(height: int, width: int) -> bytes:
    """Zlib stream of a black image."""
    return zlib.compress(bytes(height * (1 + 3 * width)), 9)


def png(
    height: int, width: int, before: Iterable[bytes] = (), after: Iterable[bytes] = (), header: bytes | None = None
) -> bytes:
    """A black PNG file with more chunks before and after its pixels."""
    first = png_header(height, width) if header is None else header
    pixels = chunk(b"IDAT", png_pixels(height, width))
    return PNG_SIGNATURE + first + b"".join(before) + pixels + b"".join(after) + chunk(b"IEND")


def png_text_bomb(kind: bytes) -> bytes:
    """One chunk that inflates to a megabyte."""
    prefix = {b"iCCP": b"p\0\0", b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0"}[kind]
    return chunk(kind, prefix + MEGABYTE_OF_ZEROS)


def png_in_pieces(height: int, width: int, pieces: int) -> bytes:
    """A PNG file with so many empty IDAT chunks before its pixels."""
    return png(height, width, before=[chunk(b"IDAT")] * pieces)


def png_with_more_pixels(height: int, width: int, extra_bytes: int) -> bytes:
    """A PNG file whose pixels inflate to more than its dimensions need."""
    pixels = zlib.compress(bytes(height * (1 + 3 * width) + extra_bytes), 9)
    return PNG_SIGNATURE + png_header(height, width) + chunk(b"IDAT", pixels) + chunk(b"IEND")


def jpeg(height: int = 64, width: int = 64, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise_frame(height, width)).save(file, "JPEG", **({"quality": 90} | options))
    return file.getvalue()


def segment(marker: int, body: bytes = b"") -> bytes:
    """One JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body


def jpeg_with(segments: Iterable[bytes], height: int = 64, width: int = 64) -> bytes:
    """A JPEG file with more segments behind its first marker."""
    file = jpeg(height, width)
    return file[:2] + b"".join(segments) + file[2:]


def jpeg_with_scans(scans: int, height: int = 64, width: int = 64) -> bytes:
    """A sequential JPEG file with so many more scans of nothing."""
    file = jpeg(height, width)
    empty = segment(0xDA, bytes([1, 1, 0x00, 0, 63, 0]))
    return file[:-2] + empty * scans + file[-2:]


def jpeg_with_scans_first(scans: int, height: int = 64, width: int = 64) -> bytes:
    """A sequential JPEG file with so many scans of nothing before its own."""
    file = jpeg(height, width)
    at = file.index(b"\xff\xda")
    return file[:at] + segment(0xDA, bytes([1, 1, 0x00, 0, 63, 0])) * scans + file[at:]


def zstd_in_blocks(content: bytes, block_bytes: int) -> bytes:
    """A zstd frame whose blocks hold only a few bytes each, compressed by tables of their own."""
    compressor = zstandard.ZstdCompressor(level=19, write_content_size=True).compressobj(size=len(content))
    pieces = []
    for at in range(0, len(content), block_bytes):
        pieces.append(compressor.compress(content[at : at + block_bytes]))
        pieces.append(compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    pieces.append(compressor.flush())
    return b"".join(pieces)


def zstd_of_empty_blocks(blocks: int, content_bytes: int = 1) -> bytes:
    """A zstd frame with so many raw blocks of nothing, then one block with its content."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0xA0]) + struct.pack("<I", content_bytes)
    last = (content_bytes << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"  # a run of one byte
    return header + (0 << 3).to_bytes(3, "little") * blocks + last


def zstd_of_tables(blocks: int) -> bytes:
    """A zstd frame with so many blocks of 3 bytes, each of which makes the decoder build three tables (RFC 8878)."""
    tables = b"\xf4\x3f" + b"\xf3\x1f" + b"\xf4\x3f"  # one symbol each, of 512, 256 and 512 states
    sequence = b"\0\0\0\4"
    body = b"\0" + b"\1\xa8" + tables + sequence  # no literals, one sequence with tables of its own
    block = (len(body) << 3 | 2 << 1).to_bytes(3, "little") + body
    first = (8 << 3 | 0 << 1).to_bytes(3, "little") + bytes(8)
    last = (0 << 3 | 1).to_bytes(3, "little")
    header = b"\x28\xb5\x2f\xfd" + bytes([0xA0]) + struct.pack("<I", 8 + 3 * blocks)
    return header + first + block * blocks + last
