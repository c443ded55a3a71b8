"""One configuration's measured accuracy. Knows no plan and infers nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import Section
from janus_vit.planning.payloads import LOCAL, LOSSLESS_SUFFIX, parse_payload
from janus_vit.planning.plan import tokens_saved

UNMERGED = "none"  # the family of what merges nothing
_LOSSLESS = (LOCAL, "float32", "tensor", "png")
_Z = 1.959964  # 95 % of a normal distribution lie within as many deviations


def carrier(payload: str) -> str:
    """The payload under whose name a format's accuracy is measured: all that lose nothing are one."""
    base = payload.removesuffix(LOSSLESS_SUFFIX)
    return LOCAL if base in _LOSSLESS else base


def identity(family: str, saved: int, split: int, payload: str) -> tuple[str, int, int, str]:
    """What tells configurations apart: without merging no family, without losses no split."""
    name = carrier(payload)
    return (family if saved else UNMERGED, saved, -1 if name == LOCAL else split, name)


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration, measured.

    Attributes:
        family, level: the schedule's name. merges: what it merges, one number a block.
        split, payload: what crossed where; `payloads.LOCAL` stands for everything that loses nothing.
        frames: measured on so many. agreeing: of them answered as without merging and losses. right: of them
            answered right, None without labels.
        kl: mean Kullback-Leibler divergence of its answers from the unmerged model's, in nats.
        size_bytes: mean size of what crossed.
    """

    family: str
    level: float
    merges: tuple[int, ...]
    split: int
    payload: str
    frames: int
    agreeing: int
    right: int | None = None
    kl: float = 0.0
    size_bytes: float = 0.0

    @property
    def saved(self) -> int:
        """`plan.tokens_saved`, the axis on which families compare."""
        return tokens_saved(self.merges)

    @property
    def identity(self) -> tuple[str, int, int, str]:
        """See the function."""
        return identity(self.family, self.saved, self.split, self.payload)

    @property
    def hits(self) -> int:
        """Answers that count: right ones, or where nobody knows those, agreeing ones."""
        return self.agreeing if self.right is None else self.right

    @property
    def share(self) -> float:
        """Of all frames."""
        return self.hits / self.frames

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the share."""
        return wilson(self.hits, self.frames)


def wilson(hits: int, frames: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, by Wilson's score: inside 0..1 and honest near its ends.

    Args:
        hits: 0..frames. frames: at least 1.
    """
    share, spread = hits / frames, _Z * _Z / frames
    middle = share + spread / 2
    reach = math.sqrt(spread * (share * (1 - share) + spread / 4))
    # Rounding must not push an end past the share itself, which is an end at 0 and at 1.
    low, high = (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)
    return max(0.0, min(share, low)), min(1.0, max(share, high))


def parse_point(section: Section) -> Point:
    """Read one measured configuration.

    Raises:
        InputError: a field is missing or impossible; the message names it.
    """
    frames = section.integer("frames", 1)
    right = None if section.values.get("right") is None else section.integer("right")
    point = Point(
        section.text("family"),
        section.number("level", 0.0),
        parse_merges(section),
        section.integer("split"),
        section.text("payload"),
        frames,
        section.integer("agreeing"),
        right,
        section.number("kl", 0.0),
        section.number("size_bytes", 0.0),
    )
    for key, count in (("agreeing", point.agreeing), ("right", point.right or 0)):
        if count > frames:
            raise section.wrong(key, f"must be at most frames ({frames}), not {count}")
    if point.payload != LOCAL:
        try:
            parse_payload(point.payload)
        except InputError as error:
            raise section.wrong("payload", f"cannot be used ({error})") from error
    return point


def parse_merges(section: Section, key: str = "merges") -> tuple[int, ...]:
    """Read a field of tokens merged in each block.

    Raises:
        InputError: it is missing or no list of numbers of tokens.
    """
    values = section.array(key)
    if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
        raise section.wrong(key, "must be whole numbers from 0 upwards, one a block")
    return tuple(values)
