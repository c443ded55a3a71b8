"""What a long measurement has finished so far, in a file beside its output. JSON lines: what it is of, then the points.

A line is written when its point is finished; the last one may be cut and is then measured again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from janus_vit.errors import InputError
from janus_vit.planning.accuracy.points import Point, parse_point
from janus_vit.planning.jsonfile import parse_json, write_text

SCHEMA = "janus-vit/calibration/1"


class Journal:
    """The points of an unfinished measurement.

    Args:
        path: of the file, which need not exist. identity: all that the points depend on.
        anew: begin again whatever the file holds.

    Raises:
        InputError: the file is damaged, of something else, or cannot be written.
    """

    def __init__(self, path: Path, identity: Mapping[str, object], anew: bool = False) -> None:
        self._path = path
        self.points: list[Point] = []
        header = json.loads(json.dumps({"schema": SCHEMA, **identity}))
        if anew or not self._read(header):
            write_text(path, json.dumps(header) + "\n")

    def add(self, point: Point) -> None:
        """Keep a finished point: it is on the disk when this returns."""
        self.points.append(point)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(point)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror}): make room and repeat") from error

    def remove(self) -> None:
        """The measurement is finished."""
        self._path.unlink(missing_ok=True)

    def _read(self, header: Mapping[str, object]) -> bool:
        """Take over what the file holds; False if that is nothing."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read ({error.strerror}): check the path") from error
        whole = data[: data.rfind(b"\n") + 1]
        first, *rest = whole.decode("utf-8", "replace").splitlines() or [""]
        if not first:
            return False
        found = parse_json(first, f"{self._path}: line 1", SCHEMA).values
        other = [key for key in header if found.get(key) != header[key]]
        if other:
            raise InputError(
                f"{self._path}: is of a calibration with other {other[0]} ({found.get(other[0])}, now "
                f"{header[other[0]]}): repeat that command, or begin anew with --anew"
            )
        sections = [parse_json(text, f"{self._path}: line {line}", None) for line, text in enumerate(rest, 2)]
        self.points = [parse_point(section) for section in sections]
        os.truncate(self._path, len(whole))
        return True
