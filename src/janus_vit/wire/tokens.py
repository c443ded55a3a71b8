"""Encode and decode tokens in every token format. Knows no request, model or network.

Layout of a body, little-endian:

    sizes   uint16 [T]       number of patches that each token represents, at least 1
    scales  float32 [T]      only in the scaled formats
    values  row by row       float32, float16, float8 (e4m3fn), int8, or two int4 per byte, low nibble first

With the lossless stage, the whole body is one zstd frame, and the values of float32 and float16 are in byte planes.

`error_bound` gives the largest error of each format. float16 clamps values beyond its range (65,504) instead of
overflowing. The scaled formats map each token's largest magnitude to the largest code: float8 448, int8 127, int4 7.
The encoder never writes the codes -128 and -8; the decoder accepts them as those numbers. The decoder ignores the bits
that pad a row of odd length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.errors import WireError
from janus_vit.planning.payloads import SCALE_BYTES, SIZE_BYTES, TOKEN_FORMATS, PayloadFormat
from janus_vit.wire.lossless import Bytes, compress, join_planes, read_body, split_planes

LARGEST_VALUE = 1e9  # of tokens and pixels in a request: far beyond real ones, and no sum or square of it overflows
_LARGEST_SIZE = 2**16 - 1
_FLOAT32 = torch.finfo(torch.float32)
_LARGEST_FLOAT16 = torch.finfo(torch.float16).max
_FLOAT8_VALUES = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).to(torch.float32)
_ROUNDING = 2.0**-20  # float32 arithmetic on scales and codes, with slack


@dataclass(frozen=True, slots=True)
class ErrorBound:
    """Bound of an encoding error: of_value * |value| + of_absmax * (largest magnitude of the token) + absolute.

    Attributes:
        of_value: error relative to the value itself.
        of_absmax: error relative to the largest magnitude of the value's token.
        absolute: error that does not depend on the values.
    """

    of_value: float
    of_absmax: float
    absolute: float

    def limits(self, tokens: Tensor) -> Tensor:
        """Return the largest allowed error of each value: [T, C] to float64 [T, C]."""
        magnitudes = tokens.to(torch.float64).abs()
        absmax = magnitudes.amax(dim=1, keepdim=True)
        return self.of_value * magnitudes + self.of_absmax * absmax + self.absolute


def error_bound(payload_base: str) -> ErrorBound:
    """Return the largest error of a format for a float32 value.

        float32  none
        float16  1/2048 of the value, or 2^-25 for values below 2^-14; values beyond 65,504 are clamped
        float8   1/16 of the value, or 1/458,752 of the token's largest magnitude
        int8     1/254 of the token's largest magnitude
        int4     1/14 of the token's largest magnitude

    The scaled formats add 2^-20 of that magnitude and 1.2e-38 for float32 arithmetic.
    """
    return _CODECS[payload_base].bound


def encode_tokens(tokens: Tensor, sizes: Tensor, payload: PayloadFormat) -> bytes:
    """Encode tokens and their sizes.

    Args:
        tokens: [T, C] of any float type, on a CPU or a CUDA device.
        sizes: [T] number of patches that each token represents.
        payload: format of the result.

    Raises:
        WireError: a value is not finite in float32, a size is not a whole number from 1 to 65,535, the shapes do not
            match or are empty, or the payload is an image format.
    """
    _require_token_payload(payload)
    if tokens.dim() != 2 or sizes.shape != tokens.shape[:1] or tokens.numel() == 0:
        raise WireError(f"tokens {list(tokens.shape)} with sizes {list(sizes.shape)} are not [T, C] with [T]")
    values = tokens.detach().to(torch.float32).contiguous()
    require_finite(values, "the token tensor to encode")
    codec = _CODECS[payload.base]
    parts = [_encode_sizes(sizes)]
    if codec.peak:
        scales = _scales(values, codec.peak)
        parts.append(_bytes(scales))
        values = values * scales.reciprocal()
    codes = _bytes(codec.encode(values))
    if not payload.lossless_stage:
        return b"".join(part.data for part in [*parts, codes])
    planes = split_planes(codes, _value_bytes(payload))
    return compress(b"".join(part.data for part in [*parts, planes]))


def decode_tokens(
    data: bytes | memoryview, payload: PayloadFormat, tokens: int, width: int, largest: float = _FLOAT32.max
) -> tuple[Tensor, Tensor]:
    """Decode a body into tokens, float32 [tokens, width], and their sizes, float32 [tokens], both writable.

    All returned values are finite.

    Args:
        data: what `encode_tokens` wrote.
        payload: format of the data.
        tokens: expected number of tokens, at least 1. The caller limits it, because it decides how much is allocated.
        width: expected number of values per token, at least 1, limited in the same way.
        largest: largest magnitude of a value.

    Raises:
        WireError: the length is wrong, the zstd frame is damaged, a size is 0, a scale is negative or not finite, a
            value is not finite or too large, or the payload is an image format.
    """
    _require_token_payload(payload)
    body = read_body(data, payload.token_bytes(tokens, width), lossless_stage=payload.lossless_stage)
    codec = _CODECS[payload.base]
    scales_at = tokens * SIZE_BYTES
    codes_at = scales_at + (tokens * SCALE_BYTES if codec.peak else 0)
    sizes = _decode_sizes(body[:scales_at])
    codes = body[codes_at:]
    codes = join_planes(codes, _value_bytes(payload)) if payload.lossless_stage else codes.copy()
    values = codec.decode(torch.from_numpy(codes).view(tokens, -1))[:, :width].contiguous()
    if codec.peak:
        values.mul_(_decode_scales(body[scales_at:codes_at]))
    require_finite(values, "field body", largest)
    return values, sizes


def require_finite(values: Tensor, source: str, largest: float = _FLOAT32.max) -> None:
    """Check that all values of a non-empty tensor are finite and not too large.

    Args:
        values: tensor of any shape.
        source: what the error message calls the tensor.
        largest: largest magnitude of a value.

    Raises:
        WireError: a value is not finite, or its magnitude is above `largest`.
    """
    # Both are NaN if any value is. Ten times faster than isfinite().all().
    low, high = map(float, torch.aminmax(values))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise WireError(f"{source} holds a value that is not finite")
    if max(-low, high) > largest:
        raise WireError(f"{source} holds a value of magnitude {max(-low, high):.3g}, expected at most {largest:g}")


def _scales(values: Tensor, peak: float) -> Tensor:
    """Return the value that the code 1 stands for in each row: [T, C] to [T, 1].

    No scale is zero or subnormal, so that every scale can be inverted.
    """
    absmax = torch.maximum(values.amax(dim=1, keepdim=True), values.amin(dim=1, keepdim=True).neg())
    largest = _FLOAT32.max / peak * (1 - 2**-22)  # peak * scale must not round to infinity
    return (absmax / peak).clamp(_FLOAT32.tiny, largest)


def _encode_float16(values: Tensor) -> Tensor:
    return values.clamp(-_LARGEST_FLOAT16, _LARGEST_FLOAT16).to(torch.float16)


def _encode_int4(values: Tensor) -> Tensor:
    """Pack [T, C] into uint8 [T, ceil(C / 2)], through int16 pairs whose low byte is the value at the even index."""
    codes = values.round().to(torch.int8)
    pairs = F.pad(codes, (0, codes.shape[1] % 2)).view(torch.int16)
    return ((pairs & 0x0F) | ((pairs >> 4) & 0xF0)).to(torch.uint8)


def _decode_float8(codes: Tensor) -> Tensor:
    """Decode through a table, which is three times faster than the conversion. A NaN code stays NaN."""
    return _FLOAT8_VALUES.index_select(0, codes.to(torch.int32).view(-1)).view(codes.shape)


def _decode_int4(codes: Tensor) -> Tensor:
    """Unpack uint8 [T, ceil(C / 2)] into [T, C], or [T, C + 1] where C is odd."""
    low = (codes << 4).view(torch.int8) >> 4  # a right shift of int8 keeps the sign
    high = codes.view(torch.int8) >> 4
    return torch.stack((low, high), dim=-1).view(codes.shape[0], -1).to(torch.float32)


@dataclass(frozen=True, slots=True)
class _Codec:
    """How one format stores values.

    Attributes:
        encode: converts float32 [T, C], divided by the row's scale if there is one, to the format's own type.
        decode: converts uint8 [T, bytes of a row] back to float32 [T, C].
        bound: largest error of the format.
        peak: largest code of a scaled format; None for a format without scales.
    """

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    bound: ErrorBound
    peak: float | None = None


_CODECS = {
    "float32": _Codec(
        lambda values: values,
        lambda codes: codes.view(torch.float32),
        ErrorBound(0.0, 0.0, 0.0),
    ),
    "float16": _Codec(
        _encode_float16,
        lambda codes: codes.view(torch.float16).to(torch.float32),
        ErrorBound(2.0**-11, 0.0, 2.0**-25),
    ),
    "float8": _Codec(
        lambda values: values.to(torch.float8_e4m3fn),
        _decode_float8,
        ErrorBound(2.0**-4, 2.0**-10 / 448 + _ROUNDING, _FLOAT32.tiny),
        peak=448,
    ),
    "int8": _Codec(
        lambda values: values.round().to(torch.int8),
        lambda codes: codes.view(torch.int8).to(torch.float32),
        ErrorBound(0.0, 0.5 / 127 + _ROUNDING, _FLOAT32.tiny),
        peak=127,
    ),
    "int4": _Codec(
        _encode_int4,
        _decode_int4,
        ErrorBound(0.0, 0.5 / 7 + _ROUNDING, _FLOAT32.tiny),
        peak=7,
    ),
}


def _bytes(values: Tensor) -> Bytes:
    return values.view(torch.uint8).cpu().numpy().reshape(-1)


def _encode_sizes(sizes: Tensor) -> Bytes:
    counts = sizes.detach().to("cpu", torch.float32).numpy()
    if not ((counts >= 1) & (counts <= _LARGEST_SIZE) & (counts == np.rint(counts))).all():
        raise WireError(f"the token sizes to encode are not all whole numbers from 1 to {_LARGEST_SIZE}")
    return counts.astype("<u2").view(np.uint8)


def _decode_sizes(data: Bytes) -> Tensor:
    sizes = data.view("<u2").astype(np.float32)
    if not sizes.all():
        raise WireError("field body holds a token size of 0, but a token represents at least 1 patch")
    return torch.from_numpy(sizes)


def _decode_scales(data: Bytes) -> Tensor:
    """Decode bytes into float32 [T, 1]."""
    scales = data.view("<f4").astype(np.float32)  # copies, because the bytes are not aligned where T is odd
    if not (np.isfinite(scales) & (scales >= 0)).all():
        raise WireError("field body holds a scale that is negative or not finite")
    return torch.from_numpy(scales).unsqueeze(1)


def _value_bytes(payload: PayloadFormat) -> int:
    """Return the number of bytes per value, which is the number of byte planes. Two int4 values count as one."""
    return max(TOKEN_FORMATS[payload.base][0] // 8, 1)


def _require_token_payload(payload: PayloadFormat) -> None:
    if not payload.of_tokens:
        raise WireError(f"payload {payload.name} carries an image, not tokens")
