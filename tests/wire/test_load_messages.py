"""Prices and replies to probes survive their bytes; an older peer's lack them; anything else raises our error."""

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_vit.errors import WireError
from janus_vit.planning.price import CloudLoad, EnginePrice
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.load_messages import (
    ProbeReply,
    parse_price,
    parse_probe,
    parse_probe_reply,
    serialise_price,
    serialise_probe,
    serialise_probe_reply,
)

SECONDS = st.floats(0, 60)
NUMBERS = st.integers(0, 2**64 - 1)
PRICES = st.builds(EnginePrice, SECONDS, SECONDS, SECONDS, SECONDS, st.floats(0, 1e300))


@given(PRICES)
def test_a_price_survives_its_bytes(price):
    assert parse_price(serialise_price(price)) == price


@given(SECONDS, SECONDS, PRICES, NUMBERS)
def test_a_probe_reply_survives_its_bytes(receive_s, wait_s, price, number):
    load = CloudLoad(wait_s, price)
    assert parse_probe_reply(serialise_probe_reply(receive_s, load, number)) == ProbeReply(receive_s, load, number)


@given(NUMBERS)
def test_a_probe_carries_its_number(number):
    assert parse_probe(serialise_probe(100, number)) == number


def test_an_idle_cloud_reports_its_load_although_all_of_it_is_zero():
    load = CloudLoad(0.0, EnginePrice())
    assert parse_probe_reply(serialise_probe_reply(0.1, load)) == ProbeReply(0.1, load)


def test_a_probe_reply_of_an_older_cloud_has_no_load():
    assert parse_probe_reply(pb.ProbeReply(receive_s=0.25).SerializeToString()) == ProbeReply(0.25, None)


def test_a_price_of_an_older_cloud_is_free():
    older = pb.Price(stem_s=1.0, head_s=2.0, frame_s=3.0, token_s=4.0).SerializeToString()
    assert parse_price(older) == EnginePrice(1.0, 2.0, 3.0, 4.0, 0.0)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("field", [each.name for each in dataclasses.fields(EnginePrice)])
def test_a_price_that_cannot_be_true_names_its_field(field, wrong):
    named = field if field == "answers_per_s" else "price"
    with pytest.raises(WireError, match=f"field {named}"):
        parse_price(pb.Price(**{field: wrong}).SerializeToString())


@pytest.mark.parametrize("field", ["receive_s", "expected_queue_s"])
def test_a_probe_reply_that_cannot_be_true_names_its_field(field):
    with pytest.raises(WireError, match=f"field {field} is -1"):
        parse_probe_reply(pb.ProbeReply(**{field: -1.0}).SerializeToString())


@given(st.binary(max_size=100), st.sampled_from([parse_price, parse_probe_reply]))
def test_garbage_raises_our_error_or_is_a_message(data, parse):
    with contextlib.suppress(WireError):
        assert parse(data) is not None
