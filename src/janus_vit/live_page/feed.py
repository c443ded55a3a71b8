"""What a live page shows, as plain data: tiles with one number each, and one row for each stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

PERIOD_S = 0.5  # between two updates
KEPT = 240  # updates that the page draws: two minutes

Value: TypeAlias = float | int | str | None
POINT = ("latency_ms", "mbps", "late", "sent", "fell_back", "refused")  # of the frames since the last update
COLUMNS = (
    "id",
    "name",
    "silent_s",  # since the last sign of life
    "sla_ms",
    "plan",
    "in_time",  # share of the frames of the last two minutes, as are the next four
    "expected",  # share of right answers in time to expect
    "frames_per_s",
    "fallbacks",
    "refusals",
    "requests_per_s",  # as the cloud counts them
    *POINT,
)
SENT = ("nothing", "image", "tokens")  # what most frames since the last update sent, by its number in `sent`


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the top of the page.

    Attributes:
        label: what it is.
        unit: "%" for a share from 0 to 1, otherwise shown behind the number.
        hint: one sentence more.
    """

    label: str
    unit: str
    hint: str


@dataclass(frozen=True, slots=True)
class Update:
    """The state of everything.

    Attributes:
        tiles: one number for each tile; None if unknown.
        rows: one row for each stream, with the values of `COLUMNS`.
        unlisted: requests since the last update from devices beyond the largest number that is listed.
    """

    tiles: Sequence[Value]
    rows: Sequence[Sequence[Value]]
    unlisted: int = 0


class Feed(Protocol):
    """Where a page gets its data. All methods are called in the page's thread.

    Attributes:
        title: heading of the page.
        subtitle: one line about what runs.
        tiles: the tiles.
        has_metrics: whether there are Prometheus metrics.
    """

    title: str
    subtitle: str
    tiles: Sequence[Tile]
    has_metrics: bool

    def update(self, now_s: float) -> Update:
        """Take in what has happened since the last update.

        Args:
            now_s: present time on a clock that never steps.
        """

    def points(self) -> dict[int, list[list[Value]]]:
        """Values of `POINT` for the last `KEPT` updates of each stream, by the stream's id."""

    def records(self) -> Iterable[dict[str, Any]]:
        """The last frames or requests, as JSON values."""

    def metrics(self) -> bytes:
        """Prometheus metrics as text; empty if there are none."""
