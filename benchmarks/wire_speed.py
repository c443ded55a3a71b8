"""Measure how long payloads take to encode and decode on one core, and how large they are.

    python benchmarks/wire_speed.py [--tokens 577 --width 1024 --image 384 --rounds 100 --warm-up 10]

Tokens are normally distributed, with a different spread for each channel and a few outlier channels. The frame is a
smooth pattern with noise. The floor is the time to copy the input and output bytes at the measured memory bandwidth.
Prints a table and one JSON line. Takes a few seconds; other load on the machine increases the p99.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from _common import print_json, timed_ms
from torch import Tensor

from janus_vit.planning.payloads import TOKEN_FORMATS, parse_payload
from janus_vit.wire.images import decode_image, decode_tensor, encode_image, encode_tensor
from janus_vit.wire.tokens import decode_tokens, encode_tokens

IMAGES = ("jpeg75", "jpeg90", "webp90", "png")


@dataclass(frozen=True)
class Case:
    """One payload.

    Attributes:
        name: of its format.
        raw_bytes: size of the data before encoding.
        encode: makes the payload.
        decode: reads it.
    """

    name: str
    raw_bytes: int
    encode: Callable[[], bytes]
    decode: Callable[[bytes], object]


@dataclass(frozen=True)
class Row:
    """Result for one payload.

    Attributes:
        payload: name of its format.
        bytes: its size.
        encode_median_ms: median time to encode.
        encode_p99_ms: 99th percentile of the same.
        decode_median_ms: median time to decode.
        decode_p99_ms: 99th percentile of the same.
        floor_ms: time to copy the bytes.
    """

    payload: str
    bytes: int
    encode_median_ms: float
    encode_p99_ms: float
    decode_median_ms: float
    decode_p99_ms: float
    floor_ms: float


def main() -> None:
    """Print the table and the JSON line."""
    options = parse_options()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bytes_per_ms = copy_bandwidth(options)
    print(f"{'payload':<13} {'bytes':>9} {'encode ms':>10} {'p99':>7} {'decode ms':>10} {'p99':>7} {'floor ms':>9}")
    rows = []
    for case in (*token_cases(options.tokens, options.width), *image_cases(options.image)):
        row = measure(case, bytes_per_ms, options)
        print(
            f"{row.payload:<13} {row.bytes:9d} {row.encode_median_ms:10.3f} {row.encode_p99_ms:7.3f} "
            f"{row.decode_median_ms:10.3f} {row.decode_p99_ms:7.3f} {row.floor_ms:9.3f}"
        )
        rows.append(asdict(row))
    print_json("wire_speed", options.warm_up, rows)


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=577)
    parser.add_argument("--width", type=int, default=1024, help="values in a token")
    parser.add_argument("--image", type=int, default=384, help="height and width in pixels")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--warm-up", type=int, default=10, help="rounds before the measured ones")
    return parser.parse_args()


def token_cases(tokens: int, width: int) -> Iterator[Case]:
    """Yield a case for each token format, with and without lossless compression."""
    values = activations(tokens, width)
    sizes = torch.ones(tokens)
    for name in (*TOKEN_FORMATS, *(f"{name}+zstd" for name in TOKEN_FORMATS)):
        payload = parse_payload(name)
        yield Case(
            name,
            4 * values.numel(),
            lambda payload=payload: encode_tokens(values, sizes, payload),  # type: ignore[misc]
            lambda data, payload=payload: decode_tokens(data, payload, tokens, width),  # type: ignore[misc]
        )


def image_cases(side: int) -> Iterator[Case]:
    """Yield a case for each image format and for the float32 tensor."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    smooth = np.stack((rows, columns, np.sin(9 * rows * columns) ** 2), axis=-1) * 220
    frame = (smooth + np.random.default_rng(0).normal(16, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
    for name in IMAGES:
        payload = parse_payload(name)
        yield Case(
            name,
            frame.size,
            lambda payload=payload: encode_image(frame, payload),  # type: ignore[misc]
            lambda data, payload=payload: decode_image(data, payload, side, side),  # type: ignore[misc]
        )
    pixels = torch.from_numpy(frame).permute(2, 0, 1).contiguous() / 127.5 - 1
    for name, lossless in (("tensor", False), ("tensor+zstd", True)):
        yield Case(
            name,
            4 * pixels.numel(),
            lambda lossless=lossless: encode_tensor(pixels, lossless_stage=lossless),  # type: ignore[misc]
            lambda data, lossless=lossless: decode_tensor(data, (3, side, side), lossless_stage=lossless),  # type: ignore[misc]
        )


def activations(tokens: int, width: int) -> Tensor:
    """Make tokens [tokens, width] with channels as in a trained transformer: unequal spreads, offsets, outliers."""
    values = torch.randn(tokens, width) * torch.exp(torch.randn(width) / 2) + torch.randn(width) / 3
    values[:, ::200] *= 40
    return values


def measure(case: Case, bytes_per_ms: float, options: argparse.Namespace) -> Row:
    """Time encoding and decoding of one payload."""
    data = case.encode()
    encode_ms = timed_ms(case.encode, options.rounds, options.warm_up)
    decode_ms = timed_ms(lambda: case.decode(data), options.rounds, options.warm_up)
    times = [np.percentile(each, q) for each in (encode_ms, decode_ms) for q in (50, 99)]
    floor = (case.raw_bytes + len(data)) / 2 / bytes_per_ms
    return Row(case.name, len(data), *(round(float(value), 4) for value in (*times, floor)))


def copy_bandwidth(options: argparse.Namespace) -> float:
    """Return how many bytes are copied in a ms, for a block as large as the float32 tokens."""
    source = torch.zeros(options.tokens, options.width)
    target = torch.empty_like(source)
    return float(4 * source.numel() / min(timed_ms(lambda: target.copy_(source), options.rounds, options.warm_up)))


if __name__ == "__main__":
    main()
