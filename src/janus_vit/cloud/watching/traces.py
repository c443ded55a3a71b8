"""Which traces of devices a cloud continues: well-formed ones, and only so many a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from janus_vit.tracing.trace_context import TraceContext, parse_header
from janus_vit.wire.rpc import TRACE


class ContinuedTraces:
    """Admits traces. Callers choose them, so a cloud continues no more than it can afford.

    Args:
        per_s: traces that are continued in a second; those of one second can be saved up. 0 continues none.
        now: reads the clock.
    """

    def __init__(self, per_s: float, now: Callable[[], float] = time.perf_counter) -> None:
        self._per_s = per_s
        self._now = now
        self._left = max(1.0, per_s)
        self._counted_s = now()

    def parent(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> TraceContext | None:
        """The device's span that a call continues.

        Args:
            metadata: of the call.

        Returns:
            The span; None if there is none, none that can be read, or if too many traces were continued lately.
        """
        if not self._per_s:
            return None
        headers = [value for key, value in metadata or () if key == TRACE]
        parent = parse_header(headers[0]) if len(headers) == 1 else None
        return parent if parent is not None and self._admits_one() else None

    def _admits_one(self) -> bool:
        now_s = self._now()
        self._left = min(max(1.0, self._per_s), self._left + self._per_s * (now_s - self._counted_s))
        self._counted_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
