"""Write outcomes as records: one JSON object per line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Outcome

SCHEMA = "janus-vit/record/1"


def to_record(
    outcome: Outcome,
    labels: tuple[str, ...] = (),
    name: str | None = None,
    truth: int | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Convert an outcome to JSON values.

    Args:
        outcome: what happened to the frame.
        labels: names of the classes; that of the best class is added to the answer.
        name: where the frame came from.
        truth: its true class, if known.
        threshold: for a multi-label model: the names of the classes from this probability on are added to the answer.
    """
    record = {"schema": SCHEMA, "name": name, "truth": truth, **asdict(outcome)}
    record["predicted"]["total_s"] = outcome.predicted.total_s
    record["met"] = outcome.met
    record["deviation"] = outcome.deviation
    if labels and outcome.answer.classes and threshold is not None:
        record["answer"]["labels"] = [labels[index] for index in outcome.answer.above(threshold)]
    elif labels and outcome.answer.classes:
        record["answer"]["label"] = labels[outcome.answer.classes[0]]
    return record


class RecordWriter:
    """Write records to a new file, one complete line at a time.

    Args:
        path: path of the file.
        labels: names of the classes.
        threshold: as in `to_record`.

    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(self, path: Path, labels: tuple[str, ...] = (), threshold: float | None = None) -> None:
        self._labels, self._threshold = labels, threshold
        try:
            self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}): choose another path") from error

    def write(self, outcome: Outcome, name: str | None = None, truth: int | None = None) -> None:
        """Append one record; arguments as in `to_record`."""
        self._file.write(json.dumps(to_record(outcome, self._labels, name, truth, self._threshold)) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
