"""Accuracy tables: measured configurations, and estimates for others within the measured range.

`janus_vit.calibration` measures configurations; `retention` estimates the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from janus_vit.errors import InputError
from janus_vit.planning.accuracy.points import UNMERGED, Point, accuracy_name, identity, parse_point
from janus_vit.planning.accuracy.retention import Retention
from janus_vit.planning.jsonfile import Section, parse_json, read_json, shown, write_text
from janus_vit.planning.latency import Floats
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan, tokens_saved
from janus_vit.planning.table import PlanTable

SCHEMA = "janus-vit/accuracy/2"
RIGHT, AGREEMENT = "right", "agreement"
# Precisions of engines: engines of one precision give the same answers.
FLOAT32, BFLOAT16, INT8 = _PRECISIONS = ("float32", "bfloat16", "int8")
_MOST_POINTS, _MOST_FAMILIES = 1_000, 8
METRICS = {RIGHT: "right", AGREEMENT: "as the unmerged model"}  # how an answer that counts is described

_Rows = tuple[tuple[str, int], ...]  # family and tokens saved of each level


@dataclass(frozen=True, slots=True)
class Estimate:
    """Share of answers that count, for one configuration.

    Attributes:
        share: the share.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        measured: True if this configuration was measured, False if it was estimated from others.
    """

    share: float
    low: float
    high: float
    measured: bool


@dataclass(frozen=True)
class AccuracyTable:
    """Measured accuracy of the configurations of one model.

    Attributes:
        model: name of the model.
        fingerprint: identifies its weights and architecture.
        engine: name of the engine that ran it.
        metric: which answers count: "right" answers, or "agreement" with the unmerged model.
        points: measured configurations; the first merges nothing and loses nothing.
        about: origin of the measurement (hardware, command, time). The planner does not read it.
        precision: precision that the engine computed in.
    """

    model: str
    fingerprint: str
    engine: str
    metric: str
    points: tuple[Point, ...]
    about: Mapping[str, object]
    precision: str = FLOAT32

    def __getstate__(self) -> dict[str, object]:
        """Pickle only the fields: cached values cannot be sent to another process."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def families(self) -> tuple[str, ...]:
        """Families that were measured, in order."""
        return tuple(dict.fromkeys(point.family for point in self.points if point.family != UNMERGED))

    @property
    def frames(self) -> int:
        """Number of frames that the unmerged model was measured on."""
        return self.points[0].frames

    @property
    def resolution(self) -> float:
        """Standard error of the unmerged model's share: smaller differences are not significant."""
        low, high = self.points[0].interval
        return (high - low) / 4

    def for_model(
        self, name: str, fingerprint: str, precision: str, source: str = "the accuracy table"
    ) -> AccuracyTable:
        """Return this table for a model that may have been renamed after the measurement.

        Args:
            name: name of the model.
            fingerprint: fingerprint of the model.
            precision: precision that its engine computes in.
            source: name of the table in error messages.

        Raises:
            InputError: the table was measured on another model or in another precision.
        """
        if fingerprint != self.fingerprint:
            raise InputError(
                f"{source}: was measured for model {self.model} ({self.fingerprint}), not for {name} ({fingerprint}): "
                "calibrate this model"
            )
        if precision != self.precision:
            raise InputError(
                f"{source}: was measured in {self.precision} (engine {self.engine!r}), and the engine here computes in "
                f"{precision}: calibrate with this --engine"
            )
        return replace(self, model=name)

    def of_plans(self, table: PlanTable) -> Floats:
        """Estimate every plan's share of answers that count, [levels, options]; NaN where it cannot be estimated.

        Raises:
            InputError: the table was measured for another model.
        """
        if table.shape.name != self.model:
            raise InputError(
                f"the accuracy table was measured for model {self.model!r}, not {table.shape.name!r}: measure this one"
            )
        rows = tuple((schedule.family, tokens_saved(schedule.applied)) for schedule in table.schedules)
        columns = [self._shares(rows, option.split, accuracy_name(option.payload)) for option in table.options]
        return np.stack(columns, axis=1)

    def of_rescues(self, table: PlanTable) -> Floats:
        """Share of every plan if the device finishes with the rescue schedule, [levels, options]; NaN as above."""
        splits = np.array([min(option.split, table.shape.blocks) for option in table.options])
        rows = zip(table.schedules, table.rescue.saved[:, splits], strict=True)
        return np.stack([self._finished(schedule.family, saved) for schedule, saved in rows])

    def _finished(self, family: str, saved: Floats) -> Floats:
        """Share by tokens saved [n], without losses, from the given family or the first that was measured so far.

        A frame with a rescue schedule belongs to no family, so the estimate of any family will do.
        """
        found = np.full(len(saved), np.nan)
        for name in (family, *self.families):
            known = self._retention.inferred(name, saved, 0, LOCAL).value
            found = np.where(np.isnan(found), known, found)
        return found

    def of_plan(self, plan: Plan) -> Estimate | None:
        """Estimate of one plan; None where it cannot be estimated."""
        saved = tokens_saved(plan.merges)
        band = self._retention.inferred(plan.family, np.array([saved], float), plan.split, plan.payload)
        share, low, high = (float(part[0]) for part in (band.value, band.low, band.high))
        if np.isnan(share):
            return None
        exact = self._measured.get(identity(plan.family, saved, plan.split, plan.payload))
        if exact is not None:
            low, high = exact.interval
            share = share if accuracy_name(plan.payload) == LOCAL else exact.share
        return Estimate(share, low=min(low, share), high=max(high, share), measured=exact is not None)

    def share_of_answer(self, plan: Plan, finished_here: bool) -> float:
        """Estimate the share of answers that count for a plan or its rescue schedule; NaN where it cannot be estimated.

        Args:
            plan: the plan that ran.
            finished_here: True if the device had to finish the frame.
        """
        if finished_here:
            rescued = plan.rescued
            return float(self._finished(rescued.family, np.array([tokens_saved(rescued.merges)], float))[0])
        known = self.of_plan(plan)
        return known.share if known else float("nan")

    @cached_property
    def _shares(self) -> Callable[[_Rows, int, str], Floats]:
        """Shares of one option, [levels]; cached, because rankings ask for the same options repeatedly."""
        return lru_cache(maxsize=4096)(self._compute_shares)

    def _compute_shares(self, rows: _Rows, split: int, payload: str) -> Floats:
        families, saved = np.array([family for family, _ in rows]), np.array([tokens for _, tokens in rows], float)
        found = np.empty(len(rows))
        for family in dict.fromkeys(family for family, _ in rows):
            mine = families == family
            found[mine] = self._retention.inferred(family, saved[mine], split, payload).value
        for row, (family, tokens) in enumerate(rows):
            exact = self._measured.get(identity(family, tokens, split, payload))
            if exact is not None and payload != LOCAL:  # without losses the fitted curve is used
                found[row] = exact.share
        return found

    @cached_property
    def _retention(self) -> Retention:
        return Retention(self.points)

    @cached_property
    def _measured(self) -> dict[tuple[str, int, int, str], Point]:
        return {point.identity: point for point in self.points}

    def to_json(self) -> str:
        """Return the text of the file."""
        values = {
            "schema": SCHEMA,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "engine": self.engine,
            "precision": self.precision,
            "metric": self.metric,
            "about": self.about,
        }
        lines = ",\n  ".join(json.dumps(asdict(point)) for point in self.points)
        return json.dumps(values, indent=1).removesuffix("\n}") + f',\n "points": [\n  {lines}\n ]\n}}\n'

    def save(self, path: Path) -> None:
        """Write the table to a JSON file."""
        write_text(path, self.to_json())


def load_accuracy(path: Path) -> AccuracyTable:
    """Read an accuracy table.

    Raises:
        InputError: unreadable or damaged; the message names file and line or field.
    """
    return _table(read_json(path, SCHEMA))


def parse_accuracy(text: str, source: str) -> AccuracyTable:
    """Read an accuracy table from text.

    Args:
        text: content of a table's file.
        source: name of the text in error messages.

    Raises:
        InputError: damaged; the message names line or field.
    """
    return _table(parse_json(text, source, SCHEMA))


def _table(section: Section) -> AccuracyTable:
    metric, listed = section.text("metric"), section.sections("points")
    if len(listed) > _MOST_POINTS:
        raise section.wrong("points", f"must be at most {_MOST_POINTS}, not {len(listed)}")
    if metric not in METRICS:
        raise section.wrong("metric", f"must be one of {', '.join(METRICS)}, not {shown(metric)}")
    points = tuple(parse_point(each) for each in listed)
    if len({len(point.merges) for point in points}) > 1:
        raise section.wrong("points", "have merges of different numbers of blocks")
    if not points or points[0].saved or accuracy_name(points[0].payload) != LOCAL:
        raise section.wrong("points", "must begin with the configuration that merges and loses nothing")
    for each, point in zip(listed, points, strict=True):
        if point.split > len(point.merges) + 1:
            raise each.wrong("split", f"must be at most {len(point.merges) + 1} (blocks + 1), not {point.split}")
        if (point.right is None) == (metric == RIGHT):
            raise each.wrong("right", f"must be {'a number' if metric == RIGHT else 'null'} with metric {metric!r}")
    keys = [point.identity for point in points]
    if len(set(keys)) < len(keys):
        raise section.wrong("points", "has one configuration twice")
    if len({point.family for point in points}) > _MOST_FAMILIES:
        raise section.wrong("points", f"must be of at most {_MOST_FAMILIES} families")
    model, fingerprint, engine = (section.short_text(key) for key in ("model", "fingerprint", "engine"))
    precision = section.text("precision") if "precision" in section.values else FLOAT32  # missing in older tables
    if precision not in _PRECISIONS:
        raise section.wrong("precision", f"must be one of {', '.join(_PRECISIONS)}, not {shown(precision)}")
    return AccuracyTable(
        model=model,
        fingerprint=fingerprint,
        engine=engine,
        metric=metric,
        points=points,
        about=section.section("about").values,
        precision=precision,
    )
