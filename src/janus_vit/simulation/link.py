"""A recorded uplink in virtual time. Knows nothing of requests, clouds or clocks: times come in as arguments."""

from __future__ import annotations

from janus_vit.links.traces import Trace

_BUFFERED_BYTES = 256 * 1024  # the same as the queue of the emulated link


class RecordedLink:
    """An uplink that sends one transfer after another at the rates of a trace. A rate of zero stalls it.

    Args:
        trace: the uplink's rate over time.
        rtt_s: round trip of an empty message.
        extra_bytes: sent with each payload, such as headers.
        begin_s: place in the trace at time 0.

    Attributes:
        free_s: when the link has sent everything that is queued.
    """

    def __init__(self, trace: Trace, rtt_s: float, extra_bytes: int = 0, begin_s: float = 0.0) -> None:
        self.rtt_s = rtt_s
        self._trace = trace
        self._extra_bytes = extra_bytes
        self._begin_s = begin_s
        self.free_s = 0.0

    def send(self, now_s: float, size_bytes: int) -> float:
        """Queue a payload and return when its last byte is sent."""
        self.free_s = self._finish_s(max(now_s, self.free_s), size_bytes + self._extra_bytes)
        return self.free_s

    def abandon(self, at_s: float, sent_s: float | None = None) -> None:
        """Cancel the last transfer at that time. Bytes that are already buffered on the way are still sent.

        Args:
            at_s: when it is cancelled.
            sent_s: when it would have been sent; a transfer that is not the last one goes on.
        """
        if sent_s is not None and sent_s != self.free_s:
            return
        self.free_s = min(self.free_s, self._finish_s(at_s, _BUFFERED_BYTES))

    def _finish_s(self, start_s: float, size_bytes: int) -> float:
        return self._trace.finish_time(self._begin_s + start_s, size_bytes) - self._begin_s
