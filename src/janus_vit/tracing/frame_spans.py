"""The device's spans of one frame, from its outcome.

frame                       from the capture to the answer
|-- wait, prepare, plan, compute, encode
|-- offload                 from sending to the reply, or until the device gives up; the cloud's spans are within it
|   `-- queue on the uplink, send
|-- fall back               finishing here because no reply came
`-- wait for earlier answers
"""

from __future__ import annotations

from collections.abc import Iterator

from janus_vit.planning.outcome import Measured, Outcome
from janus_vit.tracing.span import Attribute, Kind, Span, in_sequence, within
from janus_vit.tracing.trace_context import TraceContext, parse_header


def frame_spans(outcome: Outcome) -> list[Span]:
    """The spans of a frame; none if it is not traced.

    The parts of a frame are placed before its end, one after the other, since an outcome has durations alone.
    """
    sent = parse_header(outcome.trace or "")
    if sent is None:
        return []
    frame = within(sent)
    ended_s = outcome.at_s + outcome.measured.total_s
    root = Span("frame", frame, None, outcome.at_s, ended_s, _attributes(outcome), None)
    return [root, *_parts(outcome, frame, sent, ended_s)]


def _parts(outcome: Outcome, frame: TraceContext, sent: TraceContext, ended_s: float) -> Iterator[Span]:
    measured, overlap = outcome.measured, outcome.overlap
    here = (
        ("prepare", measured.prepare_s),
        ("wait for earlier frames", overlap.held_s),
        ("plan", measured.plan_s),
        ("compute", measured.device_s),
        ("encode", measured.encode_s),
    )
    answered_s = ended_s - overlap.order_s
    returned_s = answered_s - measured.fallback_s
    sent_s = returned_s - _offload_s(measured, overlap.uplink_s)
    began_s = sent_s - sum(seconds for _, seconds in here)
    yield from in_sequence(frame, outcome.at_s, [("wait", began_s - outcome.at_s)])
    yield from in_sequence(frame, began_s, here)
    if sent_s < returned_s:
        attributes: dict[str, Attribute] = {"janus.payload": outcome.plan.payload, "janus.bytes": outcome.size_bytes}
        problem = outcome.fallback
        yield Span("offload", sent, frame.span, sent_s, returned_s, attributes, problem, Kind.CLIENT)
        yield from in_sequence(sent, sent_s, [("queue on the uplink", overlap.uplink_s), ("send", measured.send_s)])
    yield from in_sequence(frame, returned_s, [("fall back", measured.fallback_s)])
    yield from in_sequence(frame, answered_s, [("wait for earlier answers", overlap.order_s)])


def _offload_s(measured: Measured, uplink_s: float) -> float:
    """Time from sending to the reply, or until the device gave up."""
    server_s = measured.decode_s + measured.queue_s + measured.cloud_s
    return measured.waited_s or (uplink_s + measured.send_s + measured.rtt_s + server_s)


def _attributes(outcome: Outcome) -> dict[str, Attribute]:
    known: dict[str, Attribute] = {
        "janus.frame": outcome.frame,
        "janus.plan": str(outcome.plan),
        "janus.sla_s": outcome.sla_s,
        "janus.in_time": outcome.met,
        "janus.refused": outcome.refused,
        "janus.predicted_s": outcome.predicted.total_s,
    }
    if outcome.fallback is not None:
        known["janus.fallback"] = outcome.fallback
    if outcome.predicted.on_time is not None:
        known["janus.predicted_in_time"] = outcome.predicted.on_time
    return known
