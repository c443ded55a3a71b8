"""Measured accuracy of each configuration. Interpolates between measured points and never beyond them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import Section, is_number, parse_json, read_json, write_text
from janus_vit.planning.latency import Floats
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan
from janus_vit.planning.table import PlanTable

SCHEMA = "janus-vit/accuracy/1"


@dataclass(frozen=True)
class AccuracyTable:
    """Share of right answers on a grid of pruning levels, split points and payload formats.

    Attributes:
        model: the model's name. family: the schedule's name.
        frames: how many frames each point was measured on.
        levels: ascending pruning levels, one a row of every grid.
        splits: ascending split points, one a column of the grids of token formats.
        accuracy: payload -> [levels, splits] for token formats, [levels, 1] for images and `payloads.LOCAL`.
        about: provenance. Never read by the planner.
    """

    model: str
    family: str
    frames: int
    levels: tuple[float, ...]
    splits: tuple[int, ...]
    accuracy: Mapping[str, Floats]
    about: Mapping[str, object]

    @property
    def resolution(self) -> float:
        """Standard error of the best measured accuracy: what is closer together was not told apart."""
        best = max((float(grid.max()) for grid in self.accuracy.values()), default=0.5)
        return math.sqrt(best * (1 - best) / self.frames)

    def of_plans(self, table: PlanTable) -> Floats:
        """Accuracy of every plan, [levels, options]; NaN where nothing near was measured.

        Raises:
            InputError: the table was measured for another model.
        """
        if table.shape.name != self.model:
            raise InputError(
                f"the accuracy table was measured for model {self.model!r}, not {table.shape.name!r}: measure this one"
            )
        found = np.full(table.size_bytes.shape, np.nan)
        levels = np.array([schedule.level for schedule in table.schedules])
        known = [schedule.family == self.family or schedule.level == 0 for schedule in table.schedules]
        for column, option in enumerate(table.options):
            grid = self.accuracy.get(option.payload)
            if grid is not None:
                by_level = self._at_split(grid, option.split)
                found[:, column] = np.interp(levels, self.levels, by_level, right=np.nan)
        found[~np.array(known)] = np.nan
        return found

    def of_plan(self, plan: Plan) -> float | None:
        """Accuracy of one plan, None where nothing near was measured."""
        grid = self.accuracy.get(plan.payload)
        measured_family = plan.family == self.family or not any(plan.merges)
        if grid is None or not measured_family or plan.level > self.levels[-1]:
            return None
        return float(np.interp(plan.level, self.levels, self._at_split(grid, plan.split)))

    def _at_split(self, grid: Floats, split: int) -> Floats:
        if grid.shape[1] == 1:
            return grid[:, 0]
        # Outside the measured splits the nearest one stands: rounding a token once costs about the same anywhere.
        return np.array([np.interp(split, self.splits, row) for row in grid])

    def save(self, path: Path) -> None:
        """Write the table to a JSON file."""
        values = {
            "schema": SCHEMA,
            "model": self.model,
            "family": self.family,
            "frames": self.frames,
            "levels": self.levels,
            "splits": self.splits,
            "accuracy": {name: np.round(grid, 6).tolist() for name, grid in self.accuracy.items()},
            "about": self.about,
        }
        write_text(path, json.dumps(values, indent=1) + "\n")


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
    levels = _ascending(section, "levels")
    splits = tuple(int(split) for split in _ascending(section, "splits"))
    grids = section.section("accuracy")
    return AccuracyTable(
        section.text("model"),
        section.text("family"),
        section.integer("frames", 1),
        levels,
        splits,
        {name: _grid(grids, name, len(levels), len(splits)) for name in grids.values},
        section.section("about").values,
    )


def _ascending(section: Section, key: str) -> tuple[float, ...]:
    values = section.array(key)
    numbers = all(map(is_number, values))
    if not values or not numbers or any(b <= a for a, b in zip(values, values[1:], strict=False)):
        raise InputError(f"{section.source}: field {key} must be ascending numbers: measure the table again")
    return tuple(values)


def _grid(section: Section, name: str, levels: int, splits: int) -> Floats:
    columns = splits if name != LOCAL else 1
    try:
        grid = np.array(section.array(name), float)
    except (TypeError, ValueError):
        grid = np.empty(0)
    if grid.shape not in ((levels, columns), (levels, 1)) or not np.all((grid >= 0) & (grid <= 1)):
        raise InputError(
            f"{section.source}: field accuracy.{name} must be {levels} rows of {columns} numbers from 0 to 1: "
            "measure the table again"
        )
    return grid
