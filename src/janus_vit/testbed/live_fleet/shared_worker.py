"""One model for several devices of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from janus_vit.planning.outcome import Answer
from janus_vit.planning.plan import Plan
from janus_vit.runtime.worker import EncodedPayload, Worker


class SharedWorker:
    """A worker that several threads share: one of them computes at a time.

    Slowed devices mostly wait, so that this takes none of their time: `SlowedWorker` counts the wait for the other
    threads as part of its own.

    Args:
        worker: does the work.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._turn = threading.Lock()
        self.fingerprint = worker.fingerprint

    def prepare(self, frame: Any) -> Any:
        """See `Worker.prepare`."""
        return self._worker.prepare(frame)

    def compute(self, prepared: Any, plan: Plan) -> Any:
        """See `Worker.compute`."""
        with self._turn:
            return self._worker.compute(prepared, plan)

    def encode(self, state: Any, plan: Plan) -> EncodedPayload:
        """See `Worker.encode`."""
        with self._turn:
            return self._worker.encode(state, plan)

    def finish(self, state: Any, plan: Plan) -> Answer:
        """See `Worker.finish`."""
        with self._turn:
            return self._worker.finish(state, plan)

    def finish_in_steps(self, state: Any, plan: Plan) -> Iterator[Answer | None]:
        """See `Worker.finish_in_steps`; others may compute between two steps."""
        steps, answer = self._worker.finish_in_steps(state, plan), None
        while answer is None:
            with self._turn:
                answer = next(steps)
            yield answer
