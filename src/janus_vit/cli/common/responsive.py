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
    interval_s, is_inner = sys.getswitchinterval(), gc.get_freeze_count() > 0
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not is_inner:  # objects can only be unfrozen all at once, those of an outer block too
            gc.unfreeze()
        sys.setswitchinterval(interval_s)
