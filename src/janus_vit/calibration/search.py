"""Which configuration to measure next, from what was measured so far. Knows no model; deterministic.

The budget goes, in this order, to

1. the unmerged model, the largest level of each family, and each payload format where it hurts most: before anything
   merged, tokens after the first block;
2. half of what is left: levels where a family's curve bends, that is in the gap with the largest area between the
   shares at its ends and the tokens saved there, in its middle;
3. the rest: payload formats under much merging and at a later split, those that lost most first. What stays unmeasured
   follows from `planning.retention`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from janus_vit.calibration.trials import Configuration
from janus_vit.errors import InputError
from janus_vit.planning.accuracy.points import UNMERGED, Point, carrier
from janus_vit.planning.accuracy.retention import falling_fit
from janus_vit.planning.payloads import LOCAL, parse_payload
from janus_vit.planning.plan import ModelShape, tokens_saved
from janus_vit.planning.schedules import FAMILIES, Schedule, clip, levels, make_schedule

_USABLE = 0.9  # of the unmerged share: payloads are not tried under merging that costs more


def schedules_of(names: Sequence[str], shape: ModelShape) -> dict[str, tuple[Schedule, ...]]:
    """All levels of the families that follow a rule.

    Raises:
        InputError: one of the names is none.
    """
    known = [name for name in FAMILIES if name != UNMERGED]
    for name in names:
        if name not in known:
            raise InputError(f"schedule {name!r} cannot be calibrated: use some of {', '.join(known)}")
    return {name: tuple(make_schedule(name, level, shape) for level in levels(name, shape)) for name in names}


def check_budget(budget: int, families: int) -> None:
    """Require a configuration for the unmerged model and for each family.

    Raises:
        InputError: the budget is smaller.
    """
    if budget < 1 + families:
        raise InputError(
            f"a budget of {budget} is too small for {families} families: allow {1 + families} configurations or more"
        )


@dataclass(frozen=True)
class Search:
    """What may be measured.

    Attributes:
        shape: of the model. families: name -> schedules by rising level; under much merging payloads are tried with the
            first family. payloads: formats that may cross the network. budget: how many configurations are measured.
    """

    shape: ModelShape
    families: Mapping[str, Sequence[Schedule]]
    payloads: tuple[str, ...]
    budget: int

    def __post_init__(self) -> None:
        """Check what a user may have written."""
        check_budget(self.budget, len(self.families))

    def following(self, points: Sequence[Point]) -> Configuration | None:
        """The next configuration, None when the budget is spent or nothing is left that is worth it."""
        if len(points) >= self.budget:
            return None
        measured = {_ways(point) for point in points}
        basics = self._basics()
        for configuration in basics:
            if _name(configuration) not in measured:
                return configuration
        without_losses = [configuration for configuration in basics if configuration.payload == LOCAL]
        refined = len(self._whole(points)) - len(without_losses)
        if 2 * refined < self.budget - len(basics) and (bend := self._bend(points)) is not None:
            return bend
        details = (each for each in self._details(points) if _name(each) not in measured)
        return next(details, None) or self._bend(points)

    def hopeless(self, points: Sequence[Point], point: Point) -> bool:
        """Whether a point is dominated: another saves no less anywhere, sends no more, and is surely more accurate."""
        mine = self._schedule(point)
        return any(
            other.interval[0] > point.interval[1]
            and other.split == point.split
            and other.size_bytes <= point.size_bytes
            and all(theirs <= ours for theirs, ours in zip(self._schedule(other).tokens, mine.tokens, strict=True))
            for other in points
        )

    def _basics(self) -> list[Configuration]:
        whole = self.shape.blocks + 1
        unmerged = make_schedule(UNMERGED, 0.0, self.shape)
        tops = [schedules[-1] for schedules in self.families.values()]
        merging = [schedule for schedule in tops if any(schedule.applied)]  # a model of few tokens may have none
        basics = [Configuration(schedule, whole, LOCAL) for schedule in (unmerged, *merging)]
        return basics + [Configuration(unmerged, self._first_split(payload), payload) for payload in self._lossy()]

    def _details(self, points: Sequence[Point]) -> Iterator[Configuration]:
        """Lossy payloads in other places, those that changed most answers first and those that changed none not."""
        unmerged, heavy = make_schedule(UNMERGED, 0.0, self.shape), self._heaviest_usable(points)
        changed = {point.payload: 1 - point.agreeing / point.frames for point in reversed(points) if point.saved == 0}
        for payload in sorted(self._lossy(), key=lambda payload: -changed[payload]):
            if changed[payload] == 0:
                continue
            if heavy is not None:
                yield Configuration(heavy, self._first_split(payload), payload)
            if parse_payload(payload).of_tokens:
                yield Configuration(unmerged, max(self.shape.blocks // 2, 1), payload)

    def _bend(self, points: Sequence[Point]) -> Configuration | None:
        """The middle of the gap where a curve may hide most, over all families."""
        low, high = points[0].interval
        best: tuple[float, Schedule] | None = None
        for family in self.families:
            curve = self._curve(points, family)
            fit = falling_fit([point.share for point in curve], [point.frames for point in curve])
            for at in range(1, len(curve)):
                left, right = curve[at - 1].saved, curve[at].saved
                # Where nothing fell, as much as could not have been seen counts.
                area = (fit[at - 1] - fit[at] + (high - low) / 2) * (right - left)
                middle = self._between(family, left, right)
                if middle is not None and (best is None or area > best[0]):
                    best = area, middle
        return None if best is None else Configuration(best[1], self.shape.blocks + 1, LOCAL)

    def _between(self, family: str, low: int, high: int) -> Schedule | None:
        """The level that saves closest to half way, of those that differ from both ends."""
        inside = [each for each in self.families[family] if low < tokens_saved(each.applied) < high]
        return min(inside, key=lambda each: abs(2 * tokens_saved(each.applied) - low - high), default=None)

    def _heaviest_usable(self, points: Sequence[Point]) -> Schedule | None:
        """Of the first family, among what was measured."""
        family = next(iter(self.families))
        usable = [p for p in self._curve(points, family) if p.saved and p.share >= _USABLE * points[0].share]
        return self._schedule(usable[-1]) if usable else None

    def _curve(self, points: Sequence[Point], family: str) -> list[Point]:
        """A family's points without losses, by tokens saved; the unmerged one belongs to each."""
        mine = [point for point in self._whole(points) if point.family in (family, UNMERGED)]
        return sorted(mine, key=lambda point: point.saved)

    def _whole(self, points: Sequence[Point]) -> list[Point]:
        return [point for point in points if point.payload == LOCAL]

    def _lossy(self) -> list[str]:
        return [payload for payload in dict.fromkeys(map(carrier, self.payloads)) if payload != LOCAL]

    def _first_split(self, payload: str) -> int:
        return 1 if parse_payload(payload).of_tokens else 0

    def _schedule(self, point: Point) -> Schedule:
        return clip(point.family, point.level, point.merges, self.shape)


def _name(configuration: Configuration) -> tuple[str, float, int, str]:
    schedule = configuration.schedule
    return schedule.family, schedule.level, configuration.split, configuration.payload


def _ways(point: Point) -> tuple[str, float, int, str]:
    return point.family, point.level, point.split, point.payload
