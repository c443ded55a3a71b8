"""A slower device than this machine: runs the real model, then waits until the slower device would have finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Answer
from janus_vit.planning.plan import Plan
from janus_vit.runtime.worker import EncodedPayload, Worker

Result = TypeVar("Result")


class SlowedWorker:
    """A worker that takes `factor` times as long for its part of a frame.

    It multiplies CPU time, not wall time: while another program holds the CPU, the delay is not multiplied. So the
    wrapped worker must compute in the calling thread only, as torch does with one thread.

    Args:
        worker: does the work.
        factor: 1 or more.

    Raises:
        InputError: the factor is below 1.
    """

    def __init__(self, worker: Worker, factor: float) -> None:
        if not factor >= 1:
            raise InputError(f"a slowdown of {factor:g} would be faster than this machine: give 1 or more")
        self._worker = worker
        self._factor = factor
        self.fingerprint = worker.fingerprint

    def prepare(self, frame: Any) -> Any:
        """See `Worker.prepare`. Not slowed, because a camera delivers frames of the right size."""
        return self._worker.prepare(frame)

    def compute(self, prepared: Any, plan: Plan) -> Any:
        """See `Worker.compute`."""
        return self._slowed(lambda: self._worker.compute(prepared, plan))

    def encode(self, state: Any, plan: Plan) -> EncodedPayload:
        """See `Worker.encode`."""
        return self._slowed(lambda: self._worker.encode(state, plan))

    def finish(self, state: Any, plan: Plan) -> Answer:
        """See `Worker.finish`."""
        return self._slowed(lambda: self._worker.finish(state, plan))

    def finish_in_steps(self, state: Any, plan: Plan) -> Iterator[Answer | None]:
        """See `Worker.finish_in_steps`.

        Computes all steps before the first wait, and waits as long for each: between waits caches would be cold, and
        the factor would multiply what that costs. A slower device computes its steps without a pause.
        """
        began_s, cpu_began_s = time.perf_counter(), time.thread_time()
        steps = list(self._worker.finish_in_steps(state, plan))
        step_s = self._factor * (time.thread_time() - cpu_began_s) / len(steps)
        passed_s = time.perf_counter() - began_s
        for answer in steps:
            time.sleep(max(0.0, step_s - passed_s))
            passed_s = max(0.0, passed_s - step_s)
            yield answer

    def _slowed(self, work: Callable[[], Result]) -> Result:
        return run_slowed(work, self._factor)[0]


def run_slowed(work: Callable[[], Result], factor: float) -> tuple[Result, float]:
    """Run a function and wait until `factor` times its CPU time has passed. Return its result and the time passed."""
    began_s, cpu_began_s = time.perf_counter(), time.thread_time()
    result = work()
    end_s = began_s + factor * (time.thread_time() - cpu_began_s)
    time.sleep(max(0.0, end_s - time.perf_counter()))
    return result, time.perf_counter() - began_s
