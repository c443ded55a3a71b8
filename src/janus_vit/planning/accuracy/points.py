"""The measured accuracy of one configuration: a schedule, a split point and a payload. Infers nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import Section
from janus_vit.planning.payloads import LOCAL, LOSSLESS_SUFFIX, parse_payload
from janus_vit.planning.plan import MOST_BLOCKS, MOST_TOKENS, tokens_saved

_MOST_FRAMES = 10**12
_LARGEST_LEVEL, _LARGEST_KL, _LARGEST_BYTES = 1e6, 1e6, 1e12
UNMERGED = "none"  # family of a configuration that merges nothing
_LOSSLESS = (LOCAL, "float32", "tensor", "png")
_Z = 1.959964  # 95 % of a normal distribution lie within this many standard deviations


def accuracy_name(payload: str) -> str:
    """Name under which a payload's accuracy is measured; all lossless payloads share one name."""
    base = payload.removesuffix(LOSSLESS_SUFFIX)
    return LOCAL if base in _LOSSLESS else base


def identity(family: str, saved: int, split: int, payload: str) -> tuple[str, int, int, str]:
    """Key of a configuration. The family does not matter without merging, the split does not matter without losses.

    Args:
        family: family of the schedule.
        saved: see `plan.tokens_saved`.
        split: split point.
        payload: payload format.
    """
    name = accuracy_name(payload)
    return (family if saved else UNMERGED, saved, -1 if name == LOCAL else split, name)


@dataclass(frozen=True, slots=True)
class Point:
    """Measured accuracy of one configuration.

    Attributes:
        family: family of the schedule.
        level: level of the schedule.
        merges: number of tokens merged in each block.
        split: split point.
        payload: payload format; `payloads.LOCAL` stands for all lossless formats.
        frames: number of frames that it was measured on.
        agreeing: number of frames with the same answer as the unmerged model on lossless input; of a dense model the
            sum of their agreements, each from 0 to 1.
        right: number of frames answered right; None without labels.
        kl: mean Kullback-Leibler divergence of the answers from the unmerged model's, in nats.
        size_bytes: mean size of the payload.
    """

    family: str
    level: float
    merges: tuple[int, ...]
    split: int
    payload: str
    frames: int
    agreeing: float
    right: int | None = None
    kl: float = 0.0
    size_bytes: float = 0.0

    @property
    def saved(self) -> int:
        """See `plan.tokens_saved`; makes different families comparable."""
        return tokens_saved(self.merges)

    @property
    def identity(self) -> tuple[str, int, int, str]:
        """Key of this configuration, see the function `identity`."""
        return identity(self.family, self.saved, self.split, self.payload)

    @property
    def hits(self) -> float:
        """Number of right answers, or of agreeing answers without labels."""
        return self.agreeing if self.right is None else self.right

    @property
    def share(self) -> float:
        """`hits` as a share of all frames."""
        return self.hits / self.frames

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the share."""
        return wilson(self.hits, self.frames)


def wilson(hits: float, frames: int) -> tuple[float, float]:
    """95 % confidence interval of a share, by Wilson's score, which also holds near 0 and 1.

    Args:
        hits: number of hits, 0..frames.
        frames: number of frames, at least 1.
    """
    share, spread = hits / frames, _Z * _Z / frames
    middle = share + spread / 2
    reach = math.sqrt(spread * (share * (1 - share) + spread / 4))
    # Shares of 0 and 1 are ends of their interval: rounding must not move an end past the share.
    low, high = (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)
    return max(0.0, min(share, low)), min(1.0, max(share, high))


def parse_point(section: Section) -> Point:
    """Read one measured configuration from JSON.

    Raises:
        InputError: a field is missing or impossible; the message names it.
    """
    frames = section.integer("frames", 1, _MOST_FRAMES)
    right = None if section.values.get("right") is None else section.integer("right", 0, _MOST_FRAMES)
    point = Point(
        family=section.short_text("family"),
        level=section.number("level", 0.0, _LARGEST_LEVEL),
        merges=parse_merges(section),
        split=section.integer("split", 0, MOST_BLOCKS + 1),
        payload=section.text("payload"),
        frames=frames,
        agreeing=_count(section, "agreeing"),
        right=right,
        kl=section.number("kl", 0.0, _LARGEST_KL),
        size_bytes=section.number("size_bytes", 0.0, _LARGEST_BYTES),
    )
    if sum(point.merges) > MOST_TOKENS:
        raise section.wrong("merges", f"must be at most {MOST_TOKENS} together")
    for key, count in (("agreeing", point.agreeing), ("right", point.right or 0)):
        if count > frames:
            raise section.wrong(key, f"must be at most frames ({frames}), not {count}")
    if point.payload != LOCAL:
        try:
            parse_payload(point.payload)
        except InputError as error:
            raise section.wrong("payload", f"cannot be used ({error})") from error
    return point


def _count(section: Section, key: str) -> float:
    """Read a number of frames, whole or not."""
    value = section.number(key, 0.0, _MOST_FRAMES)
    return int(value) if value == int(value) else value


def parse_merges(section: Section, key: str = "merges") -> tuple[int, ...]:
    """Read a field with the number of tokens merged in each block.

    Raises:
        InputError: the field is missing or not a list of whole numbers.
    """
    values = section.array(key)
    whole = all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS for value in values
    )
    if not whole or len(values) > MOST_BLOCKS:
        raise section.wrong(
            key, f"must be whole numbers from 0 to {MOST_TOKENS}, one for each of at most {MOST_BLOCKS} blocks"
        )
    return tuple(values)
