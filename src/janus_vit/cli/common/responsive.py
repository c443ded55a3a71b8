"""Python's garbage collector and threads in commands that answer in milliseconds."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SWITCH_S = 5e-4


@contextmanager
def quick_answers() -> Iterator[None]:
    """Keep pauses short until the block ends.

    Garbage collections leave out what is loaded now: models, libraries, connections. One that looks at all of them
    stops the process for some 90 ms. And a thread that waits for the interpreter gets it within half a millisecond
    instead of five: an engine asks for it hundreds of times in a frame, while another thread serves connections.
    """
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval_s)
