"""Open the files that a user names: regular files alone, and no larger than they may be. Knows no format."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from janus_vit.errors import InputError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device"),
)


def check_file(path: Path) -> Path:
    """Require a regular file, and return its path: pipes and devices may have no end, or never begin.

    Raises:
        InputError: the file is missing, cannot be accessed, or is not a regular file.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:  # a path with a zero byte, which only names inside of files can have
        raise InputError(f"{str(path)!r}: is not the name of a file ({error}): check the path") from error
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
        raise InputError(f"{path}: cannot be read (it is {kind}, not a file): check the path")
    return path


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        InputError: see `check_file`.
    """
    try:
        return check_file(path).open("rb")
    except OSError as error:
        raise unreadable(path, error) from error


def read_file(path: Path, most_bytes: int) -> bytes:
    """Read a whole file.

    Args:
        path: path of the file.
        most_bytes: largest size.

    Raises:
        InputError: see `check_file`, or the file is larger; nothing is read then.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(size + 1) if size <= most_bytes else b""
    except OSError as error:
        raise unreadable(path, error) from error
    if max(size, len(data)) > most_bytes:
        raise InputError(f"{path}: has more than {most_bytes} bytes, too many for a file of this kind: check the path")
    return data


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the error for a file that the system cannot read."""
    return InputError(f"{path}: cannot be read ({error.strerror}): check the path")


def real_path(path: Path) -> Path:
    """Return the absolute path without links. Unlike `Path.resolve`, it takes links that form a circle."""
    return Path(os.path.realpath(path))
