"""An honest slow device: runs the real model, then waits until as much time has passed as a slower one would need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Answer
from janus_vit.planning.plan import Plan
from janus_vit.runtime.worker import EncodedPayload, Worker

Result = TypeVar("Result")


class SlowedWorker:
    """A worker that takes `factor` times as long for its share of a frame.

    What is multiplied is processor time, not wall time, so that a moment for which another program held the processor
    stays a moment. Needs a worker that computes in the calling thread alone (torch with one thread).

    Raises:
        InputError: a factor below 1.
    """

    def __init__(self, worker: Worker, factor: float) -> None:
        if not factor >= 1:
            raise InputError(f"a slowdown of {factor:g} would be faster than this machine: give 1 or more")
        self._worker = worker
        self._factor = factor
        self.fingerprint = worker.fingerprint

    def prepare(self, frame: Any) -> Any:
        """Not slowed: a camera delivers frames of the right size."""
        return self._worker.prepare(frame)

    def compute(self, prepared: Any, plan: Plan) -> Any:
        """See `Worker.compute`."""
        return self._stretched(lambda: self._worker.compute(prepared, plan))

    def encode(self, state: Any, plan: Plan) -> EncodedPayload:
        """See `Worker.encode`."""
        return self._stretched(lambda: self._worker.encode(state, plan))

    def finish(self, state: Any, plan: Plan) -> Answer:
        """See `Worker.finish`."""
        return self._stretched(lambda: self._worker.finish(state, plan))

    def _stretched(self, part: Callable[[], Result]) -> Result:
        began_s, worked_s = time.perf_counter(), time.thread_time()
        result = part()
        over_s = began_s + self._factor * (time.thread_time() - worked_s)
        time.sleep(max(0.0, over_s - time.perf_counter()))
        return result
