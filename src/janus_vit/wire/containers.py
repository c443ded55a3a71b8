"""Check the structure of PNG, JPEG and WebP files before a decoder sees them. Decodes nothing.

A decoder's work depends on more than the dimensions: on the number of chunks, segments and scans, and on compressed
metadata. Each check reads a bounded number of headers, and refuses files that need more work than their pixels. The
decoder gets no metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from janus_vit.errors import WireError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_END = 33  # signature and IHDR chunk
_PNG_CHUNK_BYTES = 12  # length, kind, checksum
_RGB_8_BIT = b"\x08\x02"
_FEW_CHUNKS = 48  # metadata included
_PIXEL_CHUNK_BYTES = 4096  # encoders fill their pixel chunks with more, on average

_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1)  # sequential, Huffman coding
_TABLES = (0xC4, 0xDB, 0xDD)  # Huffman, quantisation, restart interval
_COLOUR = (0xE0, 0xEE)  # APP0 and APP14, which say how to convert to RGB
_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)
_MAX_SEGMENTS = 64
_MAX_TABLE_BYTES = 4096  # all tables of a colour image together need less than 1,000


def plain_png(file: bytes, height: int, width: int) -> bytes:
    """Return a PNG file without its metadata.

    Raises:
        WireError: not a PNG file of one frame in 8-bit RGB of those dimensions, or it has too many chunks.
    """
    if not file.startswith(_PNG_SIGNATURE) or file[8:16] != b"\0\0\0\rIHDR":
        raise _not_plain("PNG")
    _check_dimensions(int.from_bytes(file[20:24], "big"), int.from_bytes(file[16:20], "big"), height, width)
    if file[24:26] != _RGB_8_BIT:
        raise _not_plain("PNG")
    kept, has_metadata = [(0, _PNG_HEADER_END)], False
    for kind, start, end in _png_chunks(file):
        if kind in (b"IDAT", b"IEND"):
            kept.append((start, end))
        elif kind == b"PLTE" or (kind[:1].islower() and kind != b"acTL"):  # the decoder needs none of them
            has_metadata = True
        else:
            raise _not_plain("PNG")
    return _joined(file, kept) if has_metadata else file


def plain_jpeg(file: bytes, height: int, width: int) -> bytes:
    """Return a JPEG file without its metadata.

    Raises:
        WireError: not a sequential JPEG file of one scan in three colours of those dimensions, or it has too many or
            too large segments.
    """
    kept, frame, table_bytes, has_metadata = [(0, 2)], b"", 0, False
    for kind, start, end in _jpeg_segments(file):
        if kind in _METADATA:
            has_metadata = True
            continue
        if kind in _FRAMES and not frame:
            frame = file[start + 4 : end]
            _check_frame(frame, height, width)
        elif kind == _SCAN:
            _check_scan(file, start, frame)
        elif kind in _TABLES or kind in _COLOUR:
            table_bytes += end - start
        else:
            raise _not_plain("JPEG")
        kept.append((start, end))
    if table_bytes > _MAX_TABLE_BYTES:
        raise WireError(f"field body is not a plain JPEG file: its tables have more than {_MAX_TABLE_BYTES} bytes")
    return _joined(file, [*kept, (end, len(file))]) if has_metadata else file


def check_webp(file: bytes, height: int, width: int) -> None:
    """Refuse all but simple lossy WebP files, because opening a WebP allocates its canvas.

    Fields of a simple lossy file (RFC 9649): RIFF, size, WEBP, "VP8 ", chunk size, frame tag [3], start code [3],
    width, height.

    Raises:
        WireError: another kind of file, other dimensions, or bytes after the pixels.
    """
    if len(file) < 30 or file[:4] != b"RIFF" or file[8:16] != b"WEBPVP8 " or file[23:26] != b"\x9d\x01\x2a":
        raise WireError("field body is not a simple lossy WebP file")
    chunk_bytes = int.from_bytes(file[16:20], "little")
    if int.from_bytes(file[4:8], "little") != len(file) - 8 or chunk_bytes + chunk_bytes % 2 != len(file) - 20:
        raise WireError("field body is not a complete WEBP file: its length differs from the length in its header")
    found_height, found_width = (int.from_bytes(file[at : at + 2], "little") & 0x3FFF for at in (28, 26))
    _check_dimensions(found_height, found_width, height, width)


def _png_chunks(file: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each chunk after the header."""
    at = _PNG_HEADER_END
    for _ in range(_FEW_CHUNKS + len(file) // _PIXEL_CHUNK_BYTES):
        end = at + _PNG_CHUNK_BYTES + int.from_bytes(file[at : at + 4], "big")
        if end > len(file):
            raise WireError("field body is not a readable PNG file: one of its chunks is cut off")
        yield file[at + 4 : at + 8], at, end
        if end == len(file):
            return
        at = end
    raise WireError("field body is not a plain PNG file: it has more chunks than its pixels need")


def _jpeg_segments(file: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, start and end of each segment, the header of the first scan last."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        end = at + 2 + int.from_bytes(file[at + 2 : at + 4], "big")
        if end > len(file) or file[at] != 0xFF:
            raise WireError("field body is not a readable JPEG file: its segments are cut off")
        yield file[at + 1], at, end
        if file[at + 1] == _SCAN:
            return
        at = end
    raise WireError(f"field body is not a plain JPEG file: more than {_MAX_SEGMENTS} segments precede its pixels")


def _joined(file: bytes, parts: Sequence[tuple[int, int]]) -> bytes:
    return b"".join(file[start:end] for start, end in parts)


def _check_frame(frame: bytes, height: int, width: int) -> None:
    """Check a frame header (ITU-T T.81, B.2.2): precision, height [2], width [2], components, 3 bytes for each."""
    if len(frame) < 6 or frame[0] != 8 or frame[5] != 3:
        raise _not_plain("JPEG")
    _check_dimensions(int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"), height, width)


def _check_scan(file: bytes, at: int, frame: bytes) -> None:
    """Require one scan with all components. In a scan's data, no code of another scan can occur."""
    if not frame or file[at + 4 : at + 5] != b"\x03" or file.rfind(b"\xff\xda") != at:  # four times as fast as find
        raise WireError("field body is not a plain RGB JPEG file: its pixels are not in one scan")


def _check_dimensions(found_height: int, found_width: int, height: int, width: int) -> None:
    if (found_height, found_width) != (height, width):
        raise WireError(
            f"field body is an image of {found_height} x {found_width}, expected {height} x {width} (H x W)"
        )


def _not_plain(container: str) -> WireError:
    return WireError(f"field body is not a plain RGB {container} file of one frame")
