"""How many frames may be in flight: a few at first, and fewer once there were too many."""

from __future__ import annotations

from janus_vit.errors import TooMany
from janus_vit.runtime.flights.flight import Flight

_TAKEN = 4  # requests of one device that a cloud lets wait, unless it is set otherwise
_STEP, _STEP_AFTER_FAILURE = 50, 1_000  # frames after which one more is tried


class FlightLimit:
    """The number of frames that may be in flight.

    If there are more than link and cloud carry, the rest waits in the cloud, which refuses more than a few of a device.
    A frame that fails has to be finished here, and the answers of all later frames wait for it. So the number begins
    with what any cloud takes and rises slowly; once a frame has failed, it falls back, and stays there for long.

    Args:
        frames: the number that the user allows.

    Attributes:
        frames: the number now.
    """

    def __init__(self, frames: int) -> None:
        self._most = frames
        self.frames = min(frames, _TAKEN)
        self._step = _STEP
        self._since = 0  # frames delivered after the last change

    def failed(self, flight: Flight) -> None:
        """Learn from a frame that the cloud has not answered."""
        most = self.frames
        if flight.failure is not None and isinstance(flight.failure[0], TooMany):
            most = flight.overlap.others
        elif self.frames > _TAKEN:
            most = _TAKEN
        if most < self.frames:
            self.frames, self._step, self._since = max(1, most), _STEP_AFTER_FAILURE, 0

    def delivered(self) -> None:
        """Count a frame, however it ended."""
        self._since += 1
        if self._since >= self._step and self.frames < self._most:
            self.frames, self._since = self.frames + 1, 0
