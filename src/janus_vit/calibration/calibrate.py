"""Measures the accuracy of a model's configurations on a user's frames, as a table for the planner.

With labels, the share of right answers counts. Without labels, the share of answers that agree with the unmerged model
counts. The same frames and the same model give the same table, whether or not the measurement was interrupted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from janus_vit.calibration.evaluator import Evaluator
from janus_vit.calibration.journal import Journal
from janus_vit.calibration.search import Search
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.planning.accuracy.table import AGREEMENT, RIGHT, AccuracyTable

Progress = Callable[[float, str], None]  # share done 0..1, what is being measured


@dataclass(frozen=True)
class Calibration:
    """One measurement: a model, frames, and the configurations to try.

    Attributes:
        model: the model that is measured.
        engine: runs the model.
        evaluator: holds the frames and runs configurations on them.
        search: chooses the configurations.
    """

    model: Model
    engine: Engine
    evaluator: Evaluator
    search: Search

    @property
    def metric(self) -> str:
        """Which answers count: right ones, or those that agree with the unmerged model."""
        return AGREEMENT if self.evaluator.labels is None else RIGHT

    def journal(self, path: Path, anew: bool = False) -> Journal:
        """Open the journal of this measurement.

        Args:
            path: path of the journal, which need not exist.
            anew: whether to discard the content of the file.

        Raises:
            InputError: the file is damaged, or belongs to another measurement.
        """
        identity = {
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "engine": self.engine.name,
            "frames": self.evaluator.frames,
            "data": self.evaluator.digest,
            "metric": self.metric,
            "families": [*self.search.families],
            "schedules": self._schedules_digest(),
            "payloads": self.search.payloads,
            "budget": self.search.budget,
        }
        return Journal(path, identity, anew)

    def _schedules_digest(self) -> str:
        merges = [schedule.applied for schedules in self.search.families.values() for schedule in schedules]
        return hashlib.sha256(repr(merges).encode()).hexdigest()[:16]

    def run(
        self,
        journal: Journal,
        about: Mapping[str, object] | None = None,
        progress: Progress = lambda share, what: None,
    ) -> AccuracyTable:
        """Measure all configurations that the journal does not have yet, and return the table of all.

        Args:
            journal: points that are measured already; new ones are added.
            about: provenance to record in the table, in addition to the versions.
            progress: called with the share that is done and the current configuration.
        """
        points, search = journal.points, self.search
        while (configuration := search.next_configuration(points)) is not None:
            before = len(points)

            def show(share: float, before: int = before, what: str = str(configuration)) -> None:
                progress((before + share) / search.budget, what)

            journal.add(self.evaluator.run(configuration, lambda point: search.is_dominated(point, points), show))
        versions = {name: version(name) for name in ("janus-vit", "torch", "pillow")}
        return AccuracyTable(
            self.model.name,
            self.model.fingerprint,
            self.engine.name,
            self.metric,
            tuple(points),
            {**(about or {}), "data_digest": self.evaluator.digest, "versions": versions},
            self.engine.precision,
        )
