"""Read arrays from an .npz file. Its headers are checked before anything is unpacked or allocated."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError
from janus_vit.input_files import open_file

_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for gigabytes of working memory
_ENCRYPTED = 1
_SPARE_BYTES, _LARGEST_RATIO = 1 << 20, 64  # of unpacked data; vectors hardly shrink, padded texts do
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read those of the named arrays that an .npz file holds; the arrays may be read-only.

    Raises:
        InputError: the file is missing, not readable, encrypted or packed too tightly, or an array holds objects.
    """
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            return {name: _read(archive, members[f"{name}.npy"], path) for name in names if f"{name}.npy" in members}
    except (OSError, ValueError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: not a readable .npz file: make it with numpy.savez(FILE, labels=..., vectors=...)"
        ) from error


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    source = f"{path}: array {member.filename.removesuffix('.npy')}"
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _PLAIN:
        raise InputError(f"{source} is encrypted or packed in a way that numpy does not use: make the file again")
    if member.file_size > _SPARE_BYTES + _LARGEST_RATIO * member.compress_size:
        raise InputError(
            f"{source} unpacks from {member.compress_size} to {member.file_size} bytes, which no text vectors do: make "
            "the file again"
        )
    with archive.open(member) as packed:
        data = packed.read(member.file_size)
    try:
        return _parse(data)
    except Exception as error:  # numpy parses headers as Python code and raises many types
        raise InputError(f"{source} is damaged or holds objects: make the file again") from error


def _parse(data: bytes) -> NDArray[Any]:
    """Return the array of an .npy file.

    Raises:
        ValueError: it holds objects, or not as many values as its header says.
    """
    file = BytesIO(data)
    shape, by_columns, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"{dtype} are no numbers or texts")
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError("another number of values follows than the header promises")
    values = np.frombuffer(data, dtype, offset=file.tell()) if len(data) > file.tell() else np.empty(0, dtype)
    return values.reshape(shape, order="F" if by_columns else "C")
