"""A camera that can be made to stall, to repeat its picture and to die; the product reads it as it reads a real one."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError
from janus_vit.sources.frames import Sample
from janus_vit.sources.returning import returning
from janus_vit.sources.videos import newest

_POLL_S = 0.02


class CameraState(Enum):
    """What a camera does."""

    WORKS = "works"
    STALLS = "stalls"
    REPEATS = "repeats"
    IS_DEAD = "is dead"


class FailingCamera:
    """Takes the pictures of a list in turns.

    Args:
        pictures: uint8 [H, W, 3] each.
        period_s: time between two frames.

    Attributes:
        state: may be changed at any time.
    """

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], period_s: float) -> None:
        self._pictures, self._period_s = pictures, period_s
        self._number = 0
        self.state = CameraState.WORKS

    def samples(self) -> Iterator[Sample]:
        """Yield the newest frame; its name is the number of its picture."""
        return returning("camera", lambda: newest(self._frames()), lambda message: None)

    def _frames(self) -> Generator[Sample, None, None]:
        while True:
            time.sleep(self._period_s)
            while self.state is CameraState.STALLS:
                time.sleep(_POLL_S)
            if self.state is CameraState.IS_DEAD:
                raise InputError("the camera is unplugged")
            if self.state is not CameraState.REPEATS:
                self._number = (self._number + 1) % len(self._pictures)
            yield Sample(str(self._number), self._pictures[self._number], None, time.perf_counter())
