"""A disk that takes no more, for one process."""

import resource
from contextlib import contextmanager


@contextmanager
def full_disk(size_bytes):
    """No file of this process grows beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
