"""Clips that tests send, and bodies of their payloads taken apart."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from janus_vit.planning.payloads import parse_payload
from janus_vit.wire.clips import Clip, decode_clip, encode_clip

FRAMES, HEIGHT, WIDTH = 8, 38, 54
H264, H265 = "h264q23", "h265q23"
IMAGES = ("png", "jpeg90", "webp90")
PLAIN = (*IMAGES, H264)
NAMES = (*PLAIN, *(f"{name}+zstd" for name in PLAIN))

plain_names = pytest.mark.parametrize("name", PLAIN)
all_names = pytest.mark.parametrize("name", NAMES)


def moving_clip(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Clip:
    """A bright square that moves right over a smooth background."""
    rows, columns = np.mgrid[0:height, 0:width]
    clip = np.stack([np.stack((rows * 4, columns * 3, rows + columns), axis=-1)] * frames).astype(np.uint8)
    for index, frame in enumerate(clip):
        frame[8:24, 4 + 2 * index : 20 + 2 * index] = 230
    return clip


def encode(name: str, clip: Clip | None = None) -> bytes:
    return encode_clip(moving_clip() if clip is None else clip, parse_payload(name))


def decode(data: bytes | memoryview, name: str, frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Clip:
    return decode_clip(data, parse_payload(name), frames, height, width)


def body_of(files: list[bytes]) -> bytes:
    return struct.pack(f"<{1 + len(files)}I", len(files), *map(len, files)) + b"".join(files)


def files_of(body: bytes) -> list[bytes]:
    count = int.from_bytes(body[:4], "little")
    ends = 4 * (1 + count) + np.cumsum(struct.unpack_from(f"<{count}I", body, 4))
    return [body[start:end] for start, end in zip([4 * (1 + count), *ends[:-1]], ends, strict=True)]
