"""Resident memory that nothing needs goes back to the system at once, so that its peak stays near what is used.

On Linux; elsewhere these do nothing, and only the peak is higher.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

_PRESENT, _SWAPPED, _OF_FILE = 63, 62, 61  # bits of an entry of /proc/self/pagemap, 8 bytes for each page
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, <malloc.h>
_LARGE_BYTES = 1 << 20
_LARGEST_KEPT_BYTES = 32 << 20  # the most that glibc takes
_MALLOC_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
_LIBC: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
_GLIBC = _LIBC is not None and hasattr(_LIBC, "malloc_trim")


def release_pages(tensor: Tensor) -> None:
    """Drop the pages of a mapped file that a tensor lies in; they are read again when they are touched.

    Pages of a private mapping that have been written to are no longer the file's: then all are kept. No other thread
    may write to the tensor meanwhile.
    """
    first = -(-tensor.data_ptr() // mmap.PAGESIZE)
    count = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE - first  # whole pages
    if _LIBC is None or count <= 0 or tensor.device.type != "cpu" or not tensor.is_contiguous():
        return
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            file.seek(8 * first)
            entries = np.frombuffer(file.read(8 * count), np.uint64)
    except OSError:  # not mounted, or not ours to read
        return
    there = entries[(entries >> _PRESENT | entries >> _SWAPPED) & 1 == 1]
    if len(entries) == count and len(there) and (there >> _OF_FILE & 1).all():
        start, length = ctypes.c_void_p(first * mmap.PAGESIZE), ctypes.c_size_t(count * mmap.PAGESIZE)
        _LIBC.madvise(start, length, mmap.MADV_DONTNEED)


def trim() -> None:
    """Give back what has been freed but lies between what is in use (glibc)."""
    if _GLIBC:
        _LIBC.malloc_trim(ctypes.c_size_t(0))


@contextmanager
def large_pieces_apart() -> Iterator[None]:
    """Keep what is allocated for long and what is soon freed from lying among each other (glibc, the whole process).

    Inside, large pieces are mapped one by one, so that none that is freed leaves a hole, which runs would fill in time.
    Afterwards large pieces are kept for the next run: to map those of a ViT-L/16@384 again costs up to a quarter of its
    time. Does nothing where the environment sets how malloc behaves.
    """
    ours = _GLIBC and not any(name in os.environ for name in _MALLOC_SETTINGS)
    if ours:
        _LIBC.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    try:
        yield
    finally:
        if ours:
            _LIBC.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
            _LIBC.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_KEPT_BYTES)
