"""Names and sizes of the payload formats. Knows no bytes: `janus_vit.wire` encodes them.

The name of a payload is its format, followed by `+zstd` for a lossless stage:

    tokens  float32 float16 float8 int8 int4
    image   tensor (the float32 input, as in the paper's cloud-only) png jpegQ webpQ, Q = quality 1..100
    clip    tensor (the float32 input), png jpegQ webpQ (one file per frame), h264qQ h265qQ, Q = CRF 1..51 (lower is
            better)
    local   nothing is sent
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from janus_vit.errors import InputError

LOCAL = "local"
LOSSLESS_SUFFIX = "+zstd"
SIZE_BYTES = 2  # each token is sent with the number of patches that it stands for, as uint16
PLACE_BYTES = 2  # for each patch, the token that it went into, if a dense head reads a grid that has merged
SCALE_BYTES = 4  # one float32 scale per token in the scaled formats

# format -> (bits per value, whether each token has a scale)
TOKEN_FORMATS: dict[str, tuple[int, bool]] = {
    "float32": (32, False),
    "float16": (16, False),
    "float8": (8, True),
    "int8": (8, True),
    "int4": (4, True),
}
_VIDEO_CODECS = ("h264", "h265")
_LARGEST_CRF = 51
_INPUT = re.compile(
    rf"tensor|png|(?:jpeg|webp)(?:100|[1-9][0-9]?)|(?:{'|'.join(_VIDEO_CODECS)})q(?:5[01]|[1-4][0-9]|[1-9])"
)


@dataclass(frozen=True, slots=True)
class PayloadFormat:
    """One payload format.

    Attributes:
        name: full name, such as "float8", "jpeg90", "h264q23" or "float16+zstd".
        base: name without the lossless stage.
        lossless_stage: whether zstd compresses the result.
        of_tokens: True for tokens, False for an image or a clip.
    """

    name: str
    base: str
    lossless_stage: bool
    of_tokens: bool

    @property
    def is_fixed_size(self) -> bool:
        """Whether the shape alone determines the size."""
        return not self.lossless_stage and (self.of_tokens or self.base == "tensor")

    @property
    def of_clips(self) -> bool:
        """Whether the format is for clips only."""
        return self.base.startswith(_VIDEO_CODECS)

    @property
    def video_codec(self) -> str:
        """Codec of a format for clips: "h264" or "h265"."""
        return self.base.partition("q")[0]

    @property
    def crf(self) -> int:
        """Constant rate factor of H.264 and H.265, 1 to 51; lower is better."""
        return int(self.base.partition("q")[2])

    @property
    def quality(self) -> int:
        """Quality of a lossy format, 1 to 100. For a video codec it can only be compared with the same codec."""
        if self.of_clips:
            return 100 * (_LARGEST_CRF + 1 - self.crf) // _LARGEST_CRF
        return int(self.base.removeprefix("jpeg").removeprefix("webp"))

    def token_bytes(self, tokens: int, width: int) -> int:
        """Exact size of [tokens, width] values before a lossless stage."""
        bits, scaled = TOKEN_FORMATS[self.base]
        row_bytes = -(-width * bits // 8)  # an odd width in int4 rounds up to a whole byte
        return tokens * (SIZE_BYTES + row_bytes + (SCALE_BYTES if scaled else 0))


def parse_payload(name: str) -> PayloadFormat:
    """Parse the name of a payload format.

    Raises:
        InputError: there is no such format.
    """
    base = name.removesuffix(LOSSLESS_SUFFIX)
    of_tokens = base in TOKEN_FORMATS
    if not of_tokens and not _INPUT.fullmatch(base):
        raise InputError(
            f"payload format {name!r} is unknown: use one of {', '.join(TOKEN_FORMATS)} for tokens or "
            "tensor, png, jpeg1..jpeg100, webp1..webp100 for images and the frames of clips, or "
            f"h264q1..h264q{_LARGEST_CRF}, h265q1..h265q{_LARGEST_CRF} for clips, optionally with {LOSSLESS_SUFFIX}"
        )
    return PayloadFormat(name, base, lossless_stage=name != base, of_tokens=of_tokens)


def tensor_bytes(input_values: int) -> int:
    """Exact size of the float32 input tensor, which the paper's cloud-only policy sends."""
    return 4 * input_values
