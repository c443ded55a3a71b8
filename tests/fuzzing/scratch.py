"""A folder for the files of one run, removed at its end."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp(prefix="janus-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def written(name: str, data: bytes) -> Path:
    """Write a file of the folder and return its path."""
    path = FOLDER / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def as_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Return a function that writes data to a file and reads it."""

    def run(data: bytes) -> None:
        read(written(name, data))

    return run
