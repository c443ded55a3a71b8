"""Measures what configurations of a model cost in accuracy on somebody's own frames, for the planner to use.

With labels the share of right answers counts, without them the share of answers that agree with the unmerged model. The
same frames and the same model give the same table, whether or not the measurement was interrupted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from janus_vit.calibration.journal import Journal
from janus_vit.calibration.search import Search
from janus_vit.calibration.trials import Trials
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.planning.accuracy.table import AGREEMENT, RIGHT, AccuracyTable

Progress = Callable[[float, str], None]  # share done 0..1, what is being measured


@dataclass(frozen=True)
class Calibration:
    """What to measure on what.

    Attributes:
        model, engine: runs the frames. trials: the frames. search: configurations and how many of them.
    """

    model: Model
    engine: Engine
    trials: Trials
    search: Search

    @property
    def metric(self) -> str:
        """What counts as a hit."""
        return AGREEMENT if self.trials.labels is None else RIGHT

    def journal(self, path: Path, anew: bool = False) -> Journal:
        """What an interrupted run of this very measurement has finished; see `Journal`."""
        identity = {
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "engine": self.engine.name,
            "frames": self.trials.frames,
            "data": self.trials.digest,
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
        """Measure everything that the journal does not have, and put it together.

        Args:
            about: provenance to record beside the versions. progress: told how far it is.
        """
        points, search = journal.points, self.search
        while (configuration := search.following(points)) is not None:
            before = len(points)

            def show(share: float, before: int = before, what: str = str(configuration)) -> None:
                progress((before + share) / search.budget, what)

            journal.add(self.trials.run(configuration, lambda point: search.hopeless(points, point), show))
        versions = {name: version(name) for name in ("janus-vit", "torch", "pillow")}
        return AccuracyTable(
            self.model.name,
            self.model.fingerprint,
            self.engine.name,
            self.metric,
            tuple(points),
            {**(about or {}), "data_digest": self.trials.digest, "versions": versions},
            self.engine.precision,
        )
