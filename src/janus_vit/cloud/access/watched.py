"""Values that are read from files and read again when a file changes, while the cloud runs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from janus_vit.errors import InputError
from janus_vit.input_files import read_file

_LOG = logging.getLogger("janus_vit.cloud")
_EVERY_S = 1.0  # longest time until a change is seen
_LARGEST_BYTES = 1 << 26
T = TypeVar("T")


class WatchedFiles(Generic[T]):
    """A value that is read from some files. Any thread may ask for it.

    A file that cannot be used while the cloud runs leaves the last value in force, and is reported in the log.

    Args:
        paths: the files.
        read: reads the value from them.
        now: the clock, in seconds.

    Raises:
        InputError: the files cannot be used at the start.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[], T],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._now = now
        self._lock = threading.Lock()
        self._look_s = now() + _EVERY_S
        self._stamp = self._stamps()
        self._value = read()

    def value(self) -> T:
        """The value of the files as they are now, or as they were last usable."""
        if self._now() >= self._look_s:
            with self._lock:
                if self._now() >= self._look_s:
                    self._look_s = self._now() + _EVERY_S
                    self._look()
        return self._value

    def _look(self) -> None:
        stamp = self._stamps()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._value = self._read()
        except InputError as error:
            _LOG.error("%s; what was read before stays in force", error)
        else:
            _LOG.info("%s: read again", ", ".join(str(path) for path in self._paths))

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._paths)


def read_bytes(path: Path) -> bytes:
    """Read a small file, such as a certificate.

    Raises:
        InputError: the file cannot be read, or is not small.
    """
    return read_file(path, _LARGEST_BYTES)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None while it is missing."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino
