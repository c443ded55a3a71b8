"""Measured accuracy of configurations, and what follows from it for all others. Never beyond what was measured.

`janus_vit.calibration` measures configurations; `retention` estimates the others from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from janus_vit.errors import InputError
from janus_vit.planning.accuracy.points import UNMERGED, Point, carrier, identity, parse_point
from janus_vit.planning.accuracy.retention import Retention
from janus_vit.planning.jsonfile import Section, parse_json, read_json, write_text
from janus_vit.planning.latency import Floats
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan, tokens_saved
from janus_vit.planning.table import PlanTable

SCHEMA = "janus-vit/accuracy/2"
RIGHT, AGREEMENT = "right", "agreement"
# What engines compute in: within one precision answers are the same.
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
METRICS = {RIGHT: "right", AGREEMENT: "as the unmerged model"}  # what an answer that counts is, in words

_Rows = tuple[tuple[str, int], ...]  # family and tokens saved of each level


@dataclass(frozen=True, slots=True)
class Estimate:
    """A configuration's share of answers that count, with its 95 % interval; measured, or inferred from others."""

    share: float
    low: float
    high: float
    measured: bool


@dataclass(frozen=True)
class AccuracyTable:
    """What configurations of one model cost in accuracy.

    Attributes:
        model, fingerprint: whose. engine: that ran it. precision: what it computed in.
        metric: what counts as a hit: "right" answers, or "agreement" with the unmerged model.
        points: all that was measured, the one without merging and losses first.
        about: provenance. Never read by the planner.
    """

    model: str
    fingerprint: str
    engine: str
    metric: str
    points: tuple[Point, ...]
    about: Mapping[str, object]
    precision: str = FLOAT32

    def __getstate__(self) -> dict[str, object]:
        """The fields: what is cached beside them cannot be sent to another process."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def families(self) -> tuple[str, ...]:
        """Schedules that were measured, in order."""
        return tuple(dict.fromkeys(point.family for point in self.points if point.family != UNMERGED))

    @property
    def frames(self) -> int:
        """How many frames the unmerged model was measured on."""
        return self.points[0].frames

    @property
    def resolution(self) -> float:
        """Standard error of the unmerged model's share: what is closer together was not told apart."""
        low, high = self.points[0].interval
        return (high - low) / 4

    def for_model(
        self, name: str, fingerprint: str, precision: str, source: str = "the accuracy table"
    ) -> AccuracyTable:
        """This table for that model, which may go by another name now, on any engine of that precision.

        Raises:
            InputError: it was measured on another model or in another precision; `source` names it there.
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
        """Share of every plan, [levels, options]; NaN where nothing near was measured.

        Raises:
            InputError: the table was measured for another model.
        """
        if table.shape.name != self.model:
            raise InputError(
                f"the accuracy table was measured for model {self.model!r}, not {table.shape.name!r}: measure this one"
            )
        rows = tuple((schedule.family, tokens_saved(schedule.applied)) for schedule in table.schedules)
        columns = [self._shares(rows, option.split, carrier(option.payload)) for option in table.options]
        return np.stack(columns, axis=1)

    def of_rescues(self, table: PlanTable) -> Floats:
        """Share of every plan when the device finishes the frame in a hurry, [levels, options]; NaN as above."""
        splits = np.array([min(option.split, table.shape.blocks) for option in table.options])
        rows = zip(table.schedules, table.rescue.saved[:, splits], strict=True)
        return np.stack([self._finished(schedule.family, saved) for schedule, saved in rows])

    def _finished(self, family: str, saved: Floats) -> Floats:
        """Share of frames without losses by tokens saved [n]: of their family, or of the first that knows so many.

        A frame that caught up with another schedule is of no family any more.
        """
        found = np.full(len(saved), np.nan)
        for name in (family, *self.families):
            known = self._retention.inferred(name, saved, 0, LOCAL).value
            found = np.where(np.isnan(found), known, found)
        return found

    def of_plan(self, plan: Plan) -> Estimate | None:
        """What is known of one plan, None where nothing near was measured."""
        saved = tokens_saved(plan.merges)
        band = self._retention.inferred(plan.family, np.array([saved], float), plan.split, plan.payload)
        share, low, high = (float(part[0]) for part in (band.value, band.low, band.high))
        if np.isnan(share):
            return None
        exact = self._measured.get(identity(plan.family, saved, plan.split, plan.payload))
        if exact is not None:
            low, high = exact.interval
            share = share if carrier(plan.payload) == LOCAL else exact.share
        return Estimate(share, min(low, share), max(high, share), exact is not None)

    def share_of_answer(self, plan: Plan, finished_here: bool) -> float:
        """Share of a plan's answers that count, or of its rescue's if the device had to finish the frame; else NaN."""
        if finished_here:
            rescued = plan.rescued
            return float(self._finished(rescued.family, np.array([tokens_saved(rescued.merges)], float))[0])
        known = self.of_plan(plan)
        return known.share if known else float("nan")

    @cached_property
    def _shares(self) -> Callable[[_Rows, int, str], Floats]:
        """Of one option [levels]; kept, since rankings ask for the same ones again and again."""
        return lru_cache(maxsize=4096)(self._compute_shares)

    def _compute_shares(self, rows: _Rows, split: int, payload: str) -> Floats:
        families, saved = np.array([family for family, _ in rows]), np.array([tokens for _, tokens in rows], float)
        found = np.empty(len(rows))
        for family in dict.fromkeys(family for family, _ in rows):
            mine = families == family
            found[mine] = self._retention.inferred(family, saved[mine], split, payload).value
        for row, (family, tokens) in enumerate(rows):
            exact = self._measured.get(identity(family, tokens, split, payload))
            if exact is not None and payload != LOCAL:  # without losses the fitted curve stands
                found[row] = exact.share
        return found

    @cached_property
    def _retention(self) -> Retention:
        return Retention(self.points)

    @cached_property
    def _measured(self) -> dict[tuple[str, int, int, str], Point]:
        return {point.identity: point for point in self.points}

    def to_json(self) -> str:
        """The file's text."""
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
    """Read an accuracy table from text; `source` names it in errors."""
    return _table(parse_json(text, source, SCHEMA))


def _table(section: Section) -> AccuracyTable:
    metric, listed = section.text("metric"), section.sections("points")
    if metric not in METRICS:
        raise section.wrong("metric", f"must be one of {', '.join(METRICS)}, not {metric!r}")
    points = tuple(parse_point(each) for each in listed)
    if len({len(point.merges) for point in points}) > 1:
        raise section.wrong("points", "have merges of different numbers of blocks")
    if not points or points[0].saved or carrier(points[0].payload) != LOCAL:
        raise section.wrong("points", "must begin with the configuration that merges and loses nothing")
    for each, point in zip(listed, points, strict=True):
        if (point.right is None) == (metric == RIGHT):
            raise each.wrong("right", f"must be {'a number' if metric == RIGHT else 'null'} with metric {metric!r}")
    keys = [point.identity for point in points]
    if len(set(keys)) < len(keys):
        raise section.wrong("points", "has one configuration twice")
    model, fingerprint, engine = (section.text(key) for key in ("model", "fingerprint", "engine"))
    precision = section.text("precision") if "precision" in section.values else FLOAT32  # older tables name none
    return AccuracyTable(model, fingerprint, engine, metric, points, section.section("about").values, precision)
