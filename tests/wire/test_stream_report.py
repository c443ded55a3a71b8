"""Reports of streams survive their bytes, stay small, and are refused by the name of the field that cannot be right."""

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_vit.errors import WireError
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.stream_report import StreamReport, parse_stream_report, serialise_stream_report

REPORT = StreamReport("robot-3", "level 0.30, split 0, jpeg90", 0.3, 12.5, 100, 97, 2, 1, 60, 10, 99, 83.5, 17.25)


def test_a_report_survives_its_bytes_and_is_small():
    data = serialise_stream_report(REPORT)
    assert parse_stream_report(data) == REPORT
    assert len(data) < 120


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "x" * 65},
        {"device": "\x1b[2J"},
        {"plan": "a\nb"},
        {"sla_s": -0.1},
        {"sla_s": float("nan")},
        {"rate_mbps": float("inf")},
        {"frames": 2**60},
        {"in_time": 101},
        {"fallbacks": 101},
        {"refusals": 101},
        {"rated": 101},
        {"expected_right": 100.5},
        {"expected_right": float("nan")},
        {"images": 95},
        {"latency_s": 1e300},
    ],
)
def test_a_report_that_cannot_be_right_is_refused_by_its_field(changes):
    data = serialise_stream_report(dataclasses.replace(REPORT, **changes))
    with pytest.raises(WireError, match=next(iter(changes))):
        parse_stream_report(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_our_own_error(data):
    with contextlib.suppress(WireError):
        assert isinstance(parse_stream_report(data), StreamReport)


def test_an_empty_message_is_an_empty_report():
    assert parse_stream_report(pb.StreamReport().SerializeToString()) == StreamReport("", "", 0.0)
