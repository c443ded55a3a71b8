"""Numbers of spans that were drawn before: the cloud knows a device's span before the device's SDK does."""

from __future__ import annotations

from opentelemetry.sdk.trace.id_generator import IdGenerator

from janus_vit.tracing.trace_context import TraceContext


class GivenIds(IdGenerator):
    """Gives the numbers of `next`.

    Attributes:
        next: context of the next span.
    """

    def __init__(self) -> None:
        self.next = TraceContext(1, 1)

    def generate_span_id(self) -> int:
        """See `IdGenerator`."""
        return self.next.span

    def generate_trace_id(self) -> int:
        """See `IdGenerator`."""
        return self.next.trace
