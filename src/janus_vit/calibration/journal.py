"""Journal of a long measurement, kept in a file next to its output so that an interrupted run can continue.

JSON lines: a header that identifies the measurement, then one line for each finished point. If the last line is cut
off, its point is measured again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from janus_vit.errors import InputError
from janus_vit.input_files import read_file
from janus_vit.planning.accuracy.points import Point, parse_point
from janus_vit.planning.jsonfile import parse_json, write_text

SCHEMA = "janus-vit/calibration/1"
_LARGEST_BYTES = 1 << 28


class Journal:
    """The finished points of an unfinished measurement.

    Args:
        path: path of the file, which need not exist.
        identity: everything that the points depend on.
        anew: whether to discard the content of the file.

    Raises:
        InputError: the file is damaged, belongs to another measurement, or cannot be written.
    """

    def __init__(self, path: Path, identity: Mapping[str, object], anew: bool = False) -> None:
        self._path = path
        self.points: list[Point] = []
        header = json.loads(json.dumps({"schema": SCHEMA, **identity}))
        if anew or not self._read(header):
            write_text(path, json.dumps(header) + "\n")

    def add(self, point: Point) -> None:
        """Append a finished point. It is on the disk when this returns.

        Raises:
            InputError: the file cannot be written.
        """
        self.points.append(point)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(point)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror}): make room and repeat") from error

    def remove(self) -> None:
        """Delete the file when the measurement is finished."""
        self._path.unlink(missing_ok=True)

    def _read(self, header: Mapping[str, object]) -> bool:
        """Read the points of the file; return False if it holds nothing."""
        if not os.path.exists(self._path):
            return False
        data = read_file(self._path, _LARGEST_BYTES)
        whole = data[: data.rfind(b"\n") + 1]
        first, *rest = whole.decode("utf-8", "replace").splitlines() or [""]
        if not first:
            return False
        found = parse_json(first, str(self._path), SCHEMA, 1).values
        changed = [key for key in header if found.get(key) != header[key]]
        if changed:
            key = changed[0]
            raise InputError(
                f"{self._path}: belongs to a calibration with another value of {key} ({found.get(key)}, now "
                f"{header[key]}): repeat that command, or discard its points with --anew"
            )
        sections = [parse_json(text, str(self._path), None, line) for line, text in enumerate(rest, 2)]
        self.points = [parse_point(section) for section in sections]
        os.truncate(self._path, len(whole))
        return True
