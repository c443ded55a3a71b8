"""Chooses which configuration to measure next, from the points measured so far. Knows no model; deterministic.

The budget is spent in this order:

1. The basics: the unmerged model, the largest level of each family, and each lossy payload format where it costs most:
   without merging, and for token formats after the first block.
2. Half of the rest: levels where a family's curve of accuracy over tokens saved bends. The next level is in the middle
   of the gap between two neighbouring points that spans the largest area.
3. The remaining budget: payload formats under heavy merging and at a later split, starting with the formats that lost
   most accuracy.

`planning.accuracy.retention` estimates all other configurations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from janus_vit.calibration.evaluator import Configuration
from janus_vit.errors import InputError
from janus_vit.planning.accuracy.points import UNMERGED, Point, accuracy_name
from janus_vit.planning.accuracy.retention import falling_fit
from janus_vit.planning.payloads import LOCAL, parse_payload
from janus_vit.planning.plan import ModelShape, tokens_saved
from janus_vit.planning.schedules import FAMILIES, Schedule, clip, levels, make_schedule

_USABLE = 0.9  # payloads are not tried under merging that keeps less than this part of the unmerged model's share


def schedules_of(names: Sequence[str], shape: ModelShape) -> dict[str, tuple[Schedule, ...]]:
    """Return all levels of the families with those names.

    Raises:
        InputError: a name is not that of a family with a rule.
    """
    known = [name for name in FAMILIES if name != UNMERGED]
    for name in names:
        if name not in known:
            raise InputError(f"schedule {name!r} cannot be calibrated: use some of {', '.join(known)}")
    return {name: tuple(make_schedule(name, level, shape) for level in levels(name, shape)) for name in names}


def check_budget(budget: int, families: int) -> None:
    """Require a budget for the unmerged model and for one configuration of each family.

    Args:
        budget: number of configurations.
        families: number of families.

    Raises:
        InputError: the budget is too small.
    """
    if budget < 1 + families:
        raise InputError(
            f"a budget of {budget} is too small for {families} families: allow {1 + families} configurations or more"
        )


@dataclass(frozen=True)
class Search:
    """The configurations that may be measured, and the budget.

    Attributes:
        shape: shape of the model.
        families: name -> schedules by rising level. Payloads under heavy merging are tried with the first family.
        payloads: formats that may be sent.
        budget: number of configurations to measure.
    """

    shape: ModelShape
    families: Mapping[str, Sequence[Schedule]]
    payloads: tuple[str, ...]
    budget: int

    def __post_init__(self) -> None:
        """Check the budget, which a user chooses."""
        check_budget(self.budget, len(self.families))

    def next_configuration(self, points: Sequence[Point]) -> Configuration | None:
        """Return the configuration to measure next; None if the budget is spent or nothing useful is left."""
        if len(points) >= self.budget:
            return None
        measured = {_key_of_point(point) for point in points}
        basics = self._basics()
        for configuration in basics:
            if _key(configuration) not in measured:
                return configuration
        without_payload = [configuration for configuration in basics if configuration.payload == LOCAL]
        refined = len(self._without_payload(points)) - len(without_payload)
        if 2 * refined < self.budget - len(basics) and (bend := self._bend(points)) is not None:
            return bend
        details = (each for each in self._details(points) if _key(each) not in measured)
        return next(details, None) or self._bend(points)

    def is_dominated(self, point: Point, points: Sequence[Point]) -> bool:
        """Return whether another point saves at least as much in every block, sends no more and is more accurate.

        More accurate means that the intervals of both shares do not overlap.
        """
        mine = self._schedule(point)
        return any(
            other.interval[0] > point.interval[1]
            and other.split == point.split
            and other.size_bytes <= point.size_bytes
            and all(theirs <= ours for theirs, ours in zip(self._schedule(other).tokens, mine.tokens, strict=True))
            for other in points
        )

    def _basics(self) -> list[Configuration]:
        local = self.shape.blocks + 1
        unmerged = make_schedule(UNMERGED, 0.0, self.shape)
        tops = [schedules[-1] for schedules in self.families.values()]
        merging = [schedule for schedule in tops if any(schedule.applied)]  # a model of few tokens may have none
        basics = [Configuration(schedule, local, LOCAL) for schedule in (unmerged, *merging)]
        return basics + [Configuration(unmerged, self._first_split(payload), payload) for payload in self._lossy()]

    def _details(self, points: Sequence[Point]) -> Iterator[Configuration]:
        """Yield lossy payloads at other levels and splits, most harmful first; skip those that changed no answer."""
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
        """Return the middle of the largest gap between neighbouring points, over the curves of all families."""
        low, high = points[0].interval
        best: tuple[float, Schedule] | None = None
        for family in self.families:
            curve = self._curve(points, family)
            fit = falling_fit([point.share for point in curve], [point.frames for point in curve])
            for at in range(1, len(curve)):
                left, right = curve[at - 1].saved, curve[at].saved
                # A fall within the interval of the shares may go unseen, so count it even where the curve is flat.
                area = (fit[at - 1] - fit[at] + (high - low) / 2) * (right - left)
                middle = self._between(family, left, right)
                if middle is not None and (best is None or area > best[0]):
                    best = area, middle
        return None if best is None else Configuration(best[1], self.shape.blocks + 1, LOCAL)

    def _between(self, family: str, low: int, high: int) -> Schedule | None:
        """Return the level whose saving is nearest to the middle, of those strictly between both ends."""
        inside = [each for each in self.families[family] if low < tokens_saved(each.applied) < high]
        return min(inside, key=lambda each: abs(2 * tokens_saved(each.applied) - low - high), default=None)

    def _heaviest_usable(self, points: Sequence[Point]) -> Schedule | None:
        """Return the first family's heaviest measured schedule that keeps most of the accuracy."""
        family = next(iter(self.families))
        usable = [p for p in self._curve(points, family) if p.saved and p.share >= _USABLE * points[0].share]
        return self._schedule(usable[-1]) if usable else None

    def _curve(self, points: Sequence[Point], family: str) -> list[Point]:
        """Return a family's points without payload, by tokens saved; the unmerged point belongs to every family."""
        mine = [point for point in self._without_payload(points) if point.family in (family, UNMERGED)]
        return sorted(mine, key=lambda point: point.saved)

    def _without_payload(self, points: Sequence[Point]) -> list[Point]:
        return [point for point in points if point.payload == LOCAL]

    def _lossy(self) -> list[str]:
        return [payload for payload in dict.fromkeys(map(accuracy_name, self.payloads)) if payload != LOCAL]

    def _first_split(self, payload: str) -> int:
        return 1 if parse_payload(payload).of_tokens else 0

    def _schedule(self, point: Point) -> Schedule:
        return clip(point.family, point.level, point.merges, self.shape)


def _key(configuration: Configuration) -> tuple[str, float, int, str]:
    schedule = configuration.schedule
    return schedule.family, schedule.level, configuration.split, configuration.payload


def _key_of_point(point: Point) -> tuple[str, float, int, str]:
    return point.family, point.level, point.split, point.payload
