"""The cloud's spans of one request.

request                     from the headers of the call to its end
|-- receive, decode
|-- queue                   until the first batch begins
|-- compute                 from there to the end of the last batch
|   `-- batch, queue        a segment of blocks, together with other frames; waiting for the next one
`-- reply                   from the answer to the end of the call
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from janus_vit.scheduling.job import BatchRun
from janus_vit.tracing.span import Attribute, Kind, Span, in_sequence, within
from janus_vit.tracing.trace_context import TraceContext


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """What happened to one request, on the clock of `time.perf_counter`.

    Attributes:
        parent: the span of the device.
        device: who sent it.
        receive_s: how long its message took to arrive.
        arrived_s: when its last byte had arrived.
        ended_s: when the call ended.
        decoded_s: when it was decoded; None if it was refused before.
        finished_s: when its answer or its error was known to the process that serves the call; None if it was refused
            or cancelled before.
        batches: in which it ran.
        problem: why there is no answer, one sentence; None if there is one.
    """

    parent: TraceContext
    device: str
    receive_s: float
    arrived_s: float
    ended_s: float
    decoded_s: float | None = None
    finished_s: float | None = None
    batches: tuple[BatchRun, ...] = ()
    problem: str | None = None


def request_spans(traced: RequestTrace) -> list[Span]:
    """The spans of a request."""
    request, began_s = within(traced.parent), traced.arrived_s - traced.receive_s
    attributes: dict[str, Attribute] = {"janus.device": traced.device}
    root = Span(
        "request", request, traced.parent.span, began_s, traced.ended_s, attributes, traced.problem, Kind.SERVER
    )
    return [root, *_parts(traced, request, began_s)]


def _parts(traced: RequestTrace, request: TraceContext, began_s: float) -> Iterator[Span]:
    yield from in_sequence(request, began_s, [("receive", traced.receive_s)])
    if traced.decoded_s is None:
        return
    yield from in_sequence(request, traced.arrived_s, [("decode", traced.decoded_s - traced.arrived_s)])
    waited_until_s = traced.batches[0].began_s if traced.batches else traced.finished_s or traced.ended_s
    yield from in_sequence(request, traced.decoded_s, [("queue", waited_until_s - traced.decoded_s)])
    if traced.batches:
        yield from _compute(traced.batches, request)
    if traced.finished_s is not None:
        computed_s = traced.batches[-1].ended_s if traced.batches else traced.finished_s
        yield from in_sequence(request, computed_s, [("reply", traced.ended_s - computed_s)])


def _compute(batches: Sequence[BatchRun], request: TraceContext) -> Iterator[Span]:
    compute, free_s = within(request), batches[0].began_s
    yield Span("compute", compute, request.span, free_s, batches[-1].ended_s)
    for batch in batches:
        yield from in_sequence(compute, free_s, [("queue", batch.began_s - free_s)])
        attributes: dict[str, Attribute] = {
            "janus.frames": batch.frames,
            "janus.first_block": batch.start,
            "janus.stop_block": batch.stop,
        }
        yield Span("batch", within(compute), compute.span, batch.began_s, batch.ended_s, attributes)
        free_s = batch.ended_s
