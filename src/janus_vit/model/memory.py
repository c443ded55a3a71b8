"""Return unused memory to the system at once, so that peak memory stays close to the memory in use.

Works on Linux. Elsewhere these functions do nothing, and only the peak is higher.
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

_PRESENT, _SWAPPED, _OF_FILE = 63, 62, 61  # bits of an entry of /proc/self/pagemap, which has 8 bytes a page
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt, <malloc.h>
_LARGE_BYTES = 1 << 20
_LARGEST_KEPT_BYTES = 32 << 20  # the largest threshold that glibc accepts
_MALLOC_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
_LIBC: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
_GLIBC = _LIBC is not None and hasattr(_LIBC, "malloc_trim")


def release_pages(tensor: Tensor) -> None:
    """Drop the file pages of a mapped tensor from memory. They are read again on the next access.

    Does nothing if a page was written to, because it then differs from the file. No other thread may write to the
    tensor during the call.
    """
    first = -(-tensor.data_ptr() // mmap.PAGESIZE)
    count = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE - first  # whole pages
    if _LIBC is None or count <= 0 or tensor.device.type != "cpu" or not tensor.is_contiguous():
        return
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            file.seek(8 * first)
            entries = np.frombuffer(file.read(8 * count), np.uint64)
    except OSError:  # /proc is not mounted or not readable
        return
    there = entries[(entries >> _PRESENT | entries >> _SWAPPED) & 1 == 1]
    if len(entries) == count and len(there) and (there >> _OF_FILE & 1).all():
        start, length = ctypes.c_void_p(first * mmap.PAGESIZE), ctypes.c_size_t(count * mmap.PAGESIZE)
        _LIBC.madvise(start, length, mmap.MADV_DONTNEED)


def trim() -> None:
    """Return freed memory between used blocks to the system (glibc)."""
    if _GLIBC:
        _LIBC.malloc_trim(ctypes.c_size_t(0))


@contextmanager
def separate_large_allocations() -> Iterator[None]:
    """Keep long-lived and short-lived allocations apart (glibc, the whole process).

    Inside, each large allocation gets its own mapping, so that freed ones leave no holes between the weights.
    Afterwards large allocations are kept and reused: mapping those of a ViT-L/16@384 in every run costs up to a quarter
    of its time. Does nothing if environment variables configure malloc.
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
