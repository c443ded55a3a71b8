"""Names and sizes of everything that can cross the network. Knows no bytes: `janus_vit.wire` makes them.

A payload's name is its format, with `+zstd` behind it for a lossless stage:

    tokens  float32 float16 float8 int8 int4
    image   tensor (the float32 input, the paper's cloud-only) png jpegQ webpQ, Q = quality 1..100
    clip    tensor (the float32 input), png jpegQ webpQ (each frame one such file), h264qQ, Q = CRF 1..51, low is good
    local   nothing is sent
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from janus_vit.errors import InputError

LOCAL = "local"
LOSSLESS_SUFFIX = "+zstd"
SIZE_BYTES = 2  # each token travels with the number of patches that it stands for, as uint16
SCALE_BYTES = 4  # one float32 scale a token in the scaled formats

# format -> (bits a value, has a scale a token)
TOKEN_FORMATS: dict[str, tuple[int, bool]] = {
    "float32": (32, False),
    "float16": (16, False),
    "float8": (8, True),
    "int8": (8, True),
    "int4": (4, True),
}
_H264 = "h264q"
_LARGEST_CRF = 51
_INPUT = re.compile(rf"tensor|png|(?:jpeg|webp)(?:100|[1-9][0-9]?)|{_H264}(?:5[01]|[1-4][0-9]|[1-9])")


@dataclass(frozen=True, slots=True)
class PayloadFormat:
    """One payload format, parsed from its name.

    Attributes:
        name: as users write it, e.g. "float8", "jpeg90", "h264q23", "float16+zstd".
        base: the name without the lossless stage.
        lossless_stage: whether zstd follows.
        of_tokens: True for tokens, False for an image or a clip.
    """

    name: str
    base: str
    lossless_stage: bool
    of_tokens: bool

    @property
    def is_fixed_size(self) -> bool:
        """Whether the size follows from the shape alone."""
        return not self.lossless_stage and (self.of_tokens or self.base == "tensor")

    @property
    def of_clips(self) -> bool:
        """Whether only a clip can be sent in this format: H.264 says how frames change."""
        return self.base.startswith(_H264)

    @property
    def crf(self) -> int:
        """Constant rate factor of H.264, 1 to 51; less is better."""
        return int(self.base.removeprefix(_H264))

    @property
    def quality(self) -> int:
        """Quality of a lossy image or clip format, 1 to 100; of H.264 it only orders its own rate factors."""
        if self.of_clips:
            return 100 * (_LARGEST_CRF + 1 - self.crf) // _LARGEST_CRF
        return int(self.base.removeprefix("jpeg").removeprefix("webp"))

    def token_bytes(self, tokens: int, width: int) -> int:
        """Exact bytes of [tokens, width] values before any lossless stage."""
        bits, scaled = TOKEN_FORMATS[self.base]
        row_bytes = -(-width * bits // 8)  # an odd width in int4 rounds up to a whole byte
        return tokens * (SIZE_BYTES + row_bytes + (SCALE_BYTES if scaled else 0))


def parse_payload(name: str) -> PayloadFormat:
    """Read a payload's name.

    Raises:
        InputError: the name is none of the formats above.
    """
    base = name.removesuffix(LOSSLESS_SUFFIX)
    of_tokens = base in TOKEN_FORMATS
    if not of_tokens and not _INPUT.fullmatch(base):
        raise InputError(
            f"payload format {name!r} is unknown: use one of {', '.join(TOKEN_FORMATS)} for tokens or "
            "tensor, png, jpeg1..jpeg100, webp1..webp100 for images and the frames of clips, or "
            f"{_H264}1..{_H264}{_LARGEST_CRF} for clips, optionally with {LOSSLESS_SUFFIX}"
        )
    return PayloadFormat(name, base, name != base, of_tokens)


def tensor_bytes(input_values: int) -> int:
    """Exact bytes of the paper's cloud-only upload: the float32 input tensor."""
    return 4 * input_values
