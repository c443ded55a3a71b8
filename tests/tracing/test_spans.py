"""Spans of a frame and of a request: one trace, the right parents, times inside their parents."""

from dataclasses import replace
from random import Random

import pytest

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Answer, Measured, Outcome, Overlap, Prediction
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan
from janus_vit.scheduling.job import BatchRun
from janus_vit.tracing.frame_spans import frame_spans
from janus_vit.tracing.frames import FrameTracer
from janus_vit.tracing.request_spans import RequestTrace, request_spans
from janus_vit.tracing.trace_context import TraceContext, new_context, parse_header

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"
PARENT = TraceContext(int(TRACE, 16), int(SPAN, 16))
SENT = Outcome(
    frame=3,
    at_s=10.0,
    sla_s=0.3,
    plan=Plan("none", 0.0, (0, 0), 0, "jpeg90"),
    predicted=Prediction(0.01, 0.001, 0.05, 0.0, 0.001, 0.01, 0.02, 1000.0),
    measured=Measured(0.001, 0.002, 0.01, 0.003, 0.02, 0.03, 0.001, 0.002, 0.004, total_s=0.1),
    size_bytes=1000,
    answer=Answer((0,), (1.0,)),
    fallback=None,
    transfers=(),
    overlap=Overlap(1, held_s=0.004, uplink_s=0.005, order_s=0.006),
    trace=HEADER,
)
LOST = replace(
    SENT,
    fallback="DeadlineExceeded: late",
    measured=Measured(device_s=0.01, waited_s=0.05, fallback_s=0.03, total_s=0.1),
)
HERE = replace(
    SENT, plan=Plan("none", 0.0, (0, 0), 3, LOCAL), measured=Measured(device_s=0.09, total_s=0.1), size_bytes=0,
    overlap=Overlap(),
)  # fmt: skip
BATCHES = (BatchRun(20.02, 20.03, 4, 0, 2), BatchRun(20.04, 20.06, 1, 2, 6))
ANSWERED = RequestTrace(PARENT, "camera", 0.02, 20.0, 20.07, 20.01, 20.065, BATCHES)


class Kept:
    """Keeps spans."""

    def __init__(self):
        self.added = []

    def add(self, spans):
        self.added.append(spans)


def tree(spans):
    """Name of each span with that of its parent."""
    names = {span.context.span: span.name for span in spans}
    return [(span.name, names.get(span.parent)) for span in spans]


@pytest.mark.parametrize("spans", [frame_spans(SENT), frame_spans(LOST), frame_spans(HERE), request_spans(ANSWERED)])
def test_all_spans_are_of_one_trace_have_numbers_of_their_own_and_are_inside_their_parents(spans):
    inside = {span.context.span: span for span in spans}
    assert len(inside) == len(spans)
    for span in spans:
        assert span.context.trace == PARENT.trace
        assert span.began_s <= span.ended_s
        if span.parent in inside:
            parent = inside[span.parent]
            assert parent.began_s - 1e-9 <= span.began_s <= span.ended_s <= parent.ended_s + 1e-9


def test_a_frame_that_the_cloud_answered():
    spans = frame_spans(SENT)
    assert tree(spans) == [
        ("frame", None),
        ("wait", "frame"),
        ("prepare", "frame"),
        ("wait for earlier frames", "frame"),
        ("plan", "frame"),
        ("compute", "frame"),
        ("encode", "frame"),
        ("offload", "frame"),
        ("queue on the uplink", "offload"),
        ("send", "offload"),
        ("wait for earlier answers", "frame"),
    ]
    offload = next(span for span in spans if span.name == "offload")
    assert offload.context == PARENT  # what the cloud was told
    assert offload.ended_s - offload.began_s == pytest.approx(0.062)
    assert offload.problem is None


def test_a_frame_that_the_device_finished_after_the_cloud_had_failed():
    spans = frame_spans(LOST)
    assert [span.name for span in spans] == [
        "frame",
        "wait for earlier frames",
        "compute",
        "offload",
        "queue on the uplink",
        "fall back",
        "wait for earlier answers",
    ]
    assert spans[3].problem == "DeadlineExceeded: late"
    assert spans[0].attributes["janus.fallback"] == "DeadlineExceeded: late"


def test_a_frame_that_stays_on_the_device_has_no_offload():
    assert tree(frame_spans(HERE)) == [("frame", None), ("wait", "frame"), ("compute", "frame")]


def test_a_frame_that_is_not_traced_has_no_spans():
    assert frame_spans(replace(SENT, trace=None)) == []


def test_a_request_of_two_batches():
    spans = request_spans(ANSWERED)
    assert spans[0].parent == PARENT.span
    assert tree(spans) == [
        ("request", None),
        ("receive", "request"),
        ("decode", "request"),
        ("queue", "request"),
        ("compute", "request"),
        ("batch", "compute"),
        ("queue", "compute"),
        ("batch", "compute"),
        ("reply", "request"),
    ]
    assert spans[5].attributes == {"janus.frames": 4, "janus.first_block": 0, "janus.stop_block": 2}


def test_requests_that_were_refused_before_and_after_decoding():
    unread = replace(ANSWERED, decoded_s=None, finished_s=None, batches=(), problem="no")
    waited = replace(ANSWERED, batches=(), problem="no")
    assert [span.name for span in request_spans(unread)] == ["request", "receive"]
    assert [span.name for span in request_spans(waited)] == ["request", "receive", "decode", "queue", "reply"]
    assert request_spans(waited)[0].problem == "no"


def test_a_header_is_read_as_written():
    assert parse_header(HEADER) == PARENT
    assert PARENT.header() == HEADER
    context = new_context(Random(1))
    assert parse_header(context.header()) == context


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"00-{TRACE}-{SPAN}-00",  # not recorded
        f"01-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{'٤' * 32}-{SPAN}-01",
        HEADER.encode(),
        HEADER * 10_000,
    ],
)
def test_any_other_header_continues_no_trace(header):
    assert parse_header(header) is None


def test_a_share_of_the_frames_is_traced():
    kept = Kept()
    tracer = FrameTracer(0.25, kept, Random(7))
    headers = [tracer.begin() for _ in range(1_000)]
    traced = [header for header in headers if header is not None]
    assert 200 < len(traced) < 300
    assert len(set(traced)) == len(traced)
    for header in headers:
        tracer.end(replace(SENT, trace=header))
    assert len(kept.added) == len(traced)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(InputError, match=r"--trace-share .* from 0 to 1"):
        FrameTracer(share, Kept())
