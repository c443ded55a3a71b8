"""Decide when frames run: one after the other, or the newest frame of a camera.

The simulator, the testbed and the device command share this module; the clock is an argument, wall clock or virtual.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future
from itertools import count
from queue import SimpleQueue
from threading import Thread
from typing import Generic, Protocol, TypeVar

_ROUNDING = 1e-9
_POLL_S = 0.005  # how often a camera is looked after while frames are in flight
_STOP_POLL_S = 0.05  # how often a stream that awaits a camera looks whether it is to end

Item = TypeVar("Item")


class Captured(Protocol):
    """A frame with its time of capture."""

    @property
    def captured_s(self) -> float | None:
        """Time of capture on the device's clock; None for a frame from a file."""


class Attending(Protocol):
    """A device with frames in flight."""

    def attend(self, until_s: float) -> bool:
        """See `Device.attend`."""


Frame = TypeVar("Frame", bound=Captured)


def captures(
    now: Callable[[], float],
    wait: Callable[[float], None],
    duration_s: float,
    period_s: float | None,
    skip: Callable[[float], bool] = lambda captured_s: False,
    began_s: float | None = None,
) -> Iterator[float]:
    """Yield the time of capture of each frame to run, until `duration_s` have passed.

    Ask for the next time when the last frame is finished. Of the frames captured in between, only the newest runs; the
    others are dropped.

    Args:
        now: reads the clock.
        wait: sleeps for the given number of seconds.
        duration_s: length of the stream.
        period_s: time between two frames of the camera; None: a frame is captured when the last one is finished.
        skip: called with the time of capture of a camera's frame; True skips the frame, see `Device.skip_if_hopeless`.
        began_s: when the stream began; None: now.
    """
    began_s, captured = now() if began_s is None else began_s, -1
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
        if not skip(began_s + newest * period_s):
            yield began_s + newest * period_s


def attentive(device: Attending, now: Callable[[], float], wait: Callable[[float], None]) -> Callable[[float], None]:
    """Return a way to wait in which the device delivers the frames in flight meanwhile.

    Args:
        device: has the frames.
        now: reads the clock.
        wait: sleeps for the given number of seconds.
    """

    def attend_and_wait(seconds: float) -> None:
        until_s = now() + seconds
        device.attend(until_s)
        wait(max(0.0, until_s - now()))

    return attend_and_wait


def attended(
    frames: Iterable[Item],
    device: Attending,
    now: Callable[[], float],
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Item]:
    """Yield frames of a camera; while the next one is awaited, the device delivers the frames in flight.

    A camera that gives no frame does not keep the stream from ending: its thread is left behind then.

    Args:
        frames: the camera; it is read in a thread.
        device: has the frames in flight.
        now: reads the clock.
        stopped: True ends the stream, also while a frame is awaited.
    """
    source = iter(frames)
    asked: SimpleQueue[Future[Item | None] | None] = SimpleQueue()

    def read() -> None:
        while (wanted := asked.get()) is not None:
            _set_next(wanted, source)

    Thread(target=read, name="janus-camera", daemon=True).start()
    try:
        while not stopped():
            coming: Future[Item | None] = Future()
            asked.put(coming)
            while not (coming.done() or stopped()) and device.attend(now() + _POLL_S):
                pass
            while not (coming.done() or stopped()):
                futures.wait([coming], _STOP_POLL_S)
            frame = coming.result() if coming.done() else None
            if frame is None:
                return
            yield frame
    finally:
        asked.put(None)


def _set_next(wanted: Future[Item | None], source: Iterator[Item]) -> None:
    """Set the next item of a source, None after the last one, or the error that it raises."""
    try:
        wanted.set_result(next(source, None))
    except BaseException as error:  # raised again in the consumer
        wanted.set_exception(error)


def frames_taken(run: int, duration_s: float, period_s: float | None) -> int:
    """Count the frames that a camera takes, including dropped ones.

    Args:
        run: number of frames that ran.
        duration_s: length of the stream.
        period_s: time between two frames of the camera; None: there is no camera, and no frame is dropped.
    """
    return run if period_s is None else max(run, math.ceil(duration_s / period_s - _ROUNDING))


class EveryFrame(Generic[Item]):
    """Yield every frame of a source at a limited rate. For files, whose frames can wait.

    Args:
        frames: the source; each frame is read when it is due.
        period_s: shortest time between two frames; 0 runs the frames back to back.
        now: reads the clock.
        wait: sleeps for the given number of seconds; may return early once `stopped` is true.
        stopped: called before each frame; True ends the stream.

    Attributes:
        dropped: always 0, see `NewestFrames`.
    """

    dropped = 0

    def __init__(
        self,
        frames: Iterable[Item],
        period_s: float,
        now: Callable[[], float],
        wait: Callable[[float], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._frames = frames
        self._period_s = period_s
        self._now = now
        self._wait = wait
        self._stopped = stopped

    def __iter__(self) -> Iterator[Item]:
        began_s, frames = self._now(), iter(self._frames)
        for turn in count():
            self._wait(max(0.0, began_s + turn * self._period_s - self._now()))
            if self._stopped():
                return
            try:
                frame = next(frames)
            except StopIteration:
                return
            yield frame


class NewestFrames(Generic[Frame]):
    """Yield the newest frame of a live camera, at most one per period. Skips hopeless frames.

    One frame is due in each period. If several frames become due while another one runs, only the newest of them runs.

    Args:
        frames: the camera: yields its newest frame, and waits until it has one that it has not yielded before.
        period_s: shortest time between two frames.
        skip: called with a frame's time of capture; True skips it, see `Device.skip_if_hopeless`.
        now: reads the clock.
        wait: sleeps for the given number of seconds; may return early once `stopped` is true.
        stopped: called before each frame; True ends the stream.

    Attributes:
        dropped: number of due frames that did not run, because a newer frame replaced them or they were skipped.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        period_s: float,
        skip: Callable[[float], bool],
        now: Callable[[], float],
        wait: Callable[[float], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._frames = frames
        self._period_s = period_s
        self._skip = skip
        self._now = now
        self._wait = wait
        self._stopped = stopped
        self.dropped = 0

    def __iter__(self) -> Iterator[Frame]:
        frames, began_s, last = iter(self._frames), self._now(), -1
        for due_s in captures(self._now, self._wait, duration_s=math.inf, period_s=self._period_s):
            if self._stopped():
                return
            due = self._periods(due_s - began_s)
            self.dropped += max(0, due - last - 1)
            try:
                frame = next(frames)
            except StopIteration:
                return
            # A period without a new frame is not a dropped frame: the camera is slower than the requested rate.
            last = max(due, self._periods(self._now() - began_s))
            if frame.captured_s is not None and self._skip(frame.captured_s):
                self.dropped += 1
            else:
                yield frame

    def _periods(self, elapsed_s: float) -> int:
        return int(elapsed_s / self._period_s + _ROUNDING)
