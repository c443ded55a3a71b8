"""Write outcomes as records: one JSON object per line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Answer, Outcome

SCHEMA = "janus-vit/record/1"
_MOST_WAITING_BYTES = 16_000_000


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
    for dense in ("map", "boxes", "keypoints"):
        del record["answer"][dense]
    record["answer"] |= _dense_values(outcome.answer, labels)
    record["met"] = outcome.met
    record["deviation"] = outcome.deviation
    if labels and outcome.answer.classes and threshold is not None:
        record["answer"]["labels"] = [labels[index] for index in outcome.answer.above(threshold)]
    elif labels and outcome.answer.classes:
        record["answer"]["label"] = labels[outcome.answer.classes[0]]
    return record


def _dense_values(answer: Answer, labels: tuple[str, ...]) -> dict[str, Any]:
    """Boxes and key points as they are; of a map its shape, and its range if it has one channel, but not its codes."""
    values: dict[str, Any] = {}
    if answer.boxes:
        values["boxes"] = [{**asdict(box), **({"name": labels[box.label]} if labels else {})} for box in answer.boxes]
    if answer.keypoints:
        values["keypoints"] = [asdict(point) for point in answer.keypoints]
    if answer.map is not None:
        values["map"] = {"shape": answer.map.shape, "bits": answer.map.bits}
        if answer.map.shape[0] == 1:
            values["map"] |= {"low": answer.map.low[0], "high": float(answer.map.values.max())}
    return values


class RecordWriter:
    """Write records to a file, one complete line at a time. A full disk never ends the stream.

    The first record replaces what the file held: a stream that never starts destroys nothing and leaves nothing.
    From then on each line goes to the end of the file, also if another program empties it meanwhile, as the rotation of
    logs does. Lines that the disk does not take wait in memory and are written once it takes them again. Beyond 16 MB,
    new records are left out.

    Args:
        path: path of the file.
        labels: names of the classes.
        threshold: as in `to_record`.
        notify: called with one sentence when the disk stops or resumes taking records.

    Attributes:
        left_out: number of records that were left out.

    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        labels: tuple[str, ...] = (),
        threshold: float | None = None,
        notify: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._path, self._labels, self._threshold, self._notify = path, labels, threshold, notify
        self._waiting = bytearray()
        self._is_failing = self._has_begun = False
        self.left_out = 0
        self._is_new = not os.path.lexists(path)
        try:
            self._file: FileIO = path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}): choose another path") from error

    def write(self, outcome: Outcome, name: str | None = None, truth: int | None = None) -> None:
        """Append one record; arguments as in `to_record`."""
        if len(self._waiting) < _MOST_WAITING_BYTES:
            record = to_record(outcome, self._labels, name, truth, self._threshold)
            self._waiting += json.dumps(record).encode() + b"\n"
        else:
            self.left_out += 1
        self._write_waiting()

    def close(self) -> None:
        """Close the file. Lines that still wait are tried a last time."""
        self._write_waiting()
        self.left_out += self._waiting.count(b"\n")
        self._file.close()
        if self._is_new and not self._has_begun:
            with suppress(OSError):
                self._path.unlink()
        if self.left_out:
            self._notify(f"{self._path}: {self.left_out} records were left out, because the disk did not take them")

    def _write_waiting(self) -> None:
        """Write as much as the disk takes. It may take half a line, and the rest of it later."""
        try:
            if self._waiting and not self._has_begun:
                self._begin()
            while self._waiting:
                del self._waiting[: self._file.write(self._waiting)]
        except OSError as error:
            if not self._is_failing:
                self._notify(f"{self._path}: cannot be written ({error.strerror}): records wait in memory")
            self._is_failing = True
            return
        if self._is_failing:
            self._notify(f"{self._path}: is written again")
        self._is_failing = False

    def _begin(self) -> None:
        """Remove what the file holds; a pipe or a device holds nothing."""
        if os.fstat(self._file.fileno()).st_size:
            self._file.truncate(0)
        self._has_begun = True
