"""When frames are taken: one after the other, or by a camera at a fixed rate whose newest frame is run.

The same for a wall clock and a virtual one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

_ROUNDING = 1e-9


def captures(
    now: Callable[[], float],
    wait: Callable[[float], None],
    duration_s: float,
    period_s: float | None,
    skips: Callable[[float], bool] = lambda captured_s: False,
) -> Iterator[float]:
    """When each frame that is run was taken, until `duration_s` have passed; ask for the next when the last is over.

    Args:
        now: the clock. wait: lets so many seconds pass.
        period_s: of the camera; what was taken while another frame ran is dropped, but for the newest. None: a frame
            is taken when the one before it is over.
        skips: whether the camera's frame of that time is better left out, see `Device.skips`.
    """
    began_s, captured = now(), -1
    while (elapsed_s := now() - began_s) < duration_s:
        if period_s is None:
            yield now()
            continue
        newest = int(elapsed_s / period_s + _ROUNDING)
        if newest == captured:
            newest += 1
            if newest * period_s >= duration_s - _ROUNDING:
                return
            wait(began_s + newest * period_s - now())
        captured = newest
        if not skips(began_s + newest * period_s):
            yield began_s + newest * period_s


def frames_taken(run: int, duration_s: float, period_s: float | None) -> int:
    """Frames that the camera takes in that time, dropped ones included; without a camera, those that were run."""
    return run if period_s is None else max(run, math.ceil(duration_s / period_s - _ROUNDING))
