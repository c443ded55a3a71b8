"""Resident memory that nothing needs goes back to the system at once, so that its peak stays near what is used.

On Linux; elsewhere these do nothing, and only the peak is higher.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np
from torch import Tensor

_PRESENT, _SWAPPED, _OF_FILE = 63, 62, 61  # bits of an entry of /proc/self/pagemap, 8 bytes for each page
_DONTNEED = 4  # of madvise, <asm-generic/mman-common.h>
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def let_go(tensor: Tensor) -> None:
    """Drop the pages of a mapped file that a tensor lies in; they are read again when they are touched.

    Pages that have been written to are no longer the file's: then all are kept.
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
    there = (entries >> _PRESENT | entries >> _SWAPPED) & 1
    if len(entries) == count and (entries[there == 1] >> _OF_FILE & 1).all():
        _LIBC.madvise(ctypes.c_void_p(first * mmap.PAGESIZE), ctypes.c_size_t(count * mmap.PAGESIZE), _DONTNEED)


def trim() -> None:
    """Give back what has been freed but lies between what is in use (glibc)."""
    if _LIBC is not None and hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(ctypes.c_size_t(0))
