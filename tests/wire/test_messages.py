"""Requests and replies survive their bytes; anything else raises our error."""

import contextlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from janus_vit.errors import WireError
from janus_vit.planning.outcome import Answer
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.plan import ModelShape
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.activations import check_sizes
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.messages import (
    HEADER_BYTES,
    Greeting,
    Reply,
    Request,
    parse_greeting,
    parse_reply,
    parse_request,
    serialise_greeting,
    serialise_reply,
    serialise_request,
)
from janus_vit.wire.request_check import check_request, largest_body_bytes

SHAPE = ModelShape("example", 4, 20, 1, 8, (3, 16, 16))
TIME_S = st.floats(0, 100)


@given(
    split=st.integers(1, 4),
    body=st.binary(max_size=300),
    tokens=st.integers(2, 20),
    time_left_s=st.floats(0.001, 60),
    device=st.text(max_size=64).filter(str.isprintable),
)
def test_a_request_survives_its_bytes_and_passes_its_check(split, body, tokens, time_left_s, device):
    request = Request(
        fingerprint="abc",
        payload="int8",
        split=split,
        merges=(0,) * (4 - split),
        tokens=tokens,
        width=8,
        time_left_s=time_left_s,
        device=device,
        body=body,
    )
    received = parse_request(serialise_request(request))
    assert received == request
    assert check_request(received, SHAPE, "abc") == parse_payload("int8")


@pytest.mark.parametrize("tokens", [1, 3, 20])
def test_after_the_last_block_only_the_tokens_that_the_head_reads_are_accepted(tokens):
    request = Request(
        fingerprint="abc",
        payload="int8",
        split=4,
        merges=(),
        tokens=tokens,
        width=8,
        time_left_s=1.0,
        device="",
        body=b"",
    )
    with pytest.raises(WireError, match=f"tokens is {tokens}, expected the 2 that the head reads"):
        check_request(request, replace(SHAPE, head_tokens=2), "abc")
    check_request(replace(request, tokens=2), replace(SHAPE, head_tokens=2), "abc")


@given(TIME_S, TIME_S, TIME_S, TIME_S, TIME_S)
def test_a_reply_survives_its_bytes(receive_s, decode_s, queue_s, compute_s, expected_s):
    reply = Reply(Answer((3, 1), (0.75, 0.25)), receive_s, decode_s, queue_s, compute_s, expected_s)
    assert parse_reply(serialise_reply(reply), Outputs(4)) == reply


def test_a_greeting_survives_its_bytes():
    greeting = Greeting("model", "abc", "{}")
    assert parse_greeting(serialise_greeting(greeting)) == greeting


@given(
    st.binary(max_size=200),
    st.sampled_from([parse_request, parse_greeting, lambda data: parse_reply(data, Outputs(10))]),
)
def test_garbage_raises_our_error_or_is_a_message(data, unpack):
    with contextlib.suppress(WireError):
        assert unpack(data) is not None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"classes": [], "probabilities": []}, "classes"),
        ({"classes": [1, 2], "probabilities": [0.5]}, "classes"),
        ({"classes": [10], "probabilities": [0.5]}, "classes"),
        ({"classes": [1], "probabilities": [float("nan")]}, "probabilities"),
        ({"classes": [1], "probabilities": [0.5], "queue_s": -1.0}, "field queue_s"),
        ({"classes": [1], "probabilities": [0.5], "compute_s": float("inf")}, "field compute_s"),
    ],
)
def test_a_reply_that_cannot_be_true_names_its_field(fields, named):
    with pytest.raises(WireError, match=named):
        parse_reply(pb.InferReply(**fields).SerializeToString(), Outputs(10))


@pytest.mark.parametrize(
    "fields", [{"vector": [1.0]}, {"vector": [0.0, float("nan")]}, {"vector": [0.6, 0.8], "classes": [0]}, {}]
)
def test_a_reply_of_a_model_that_embeds_is_checked_too(fields):
    with pytest.raises(WireError, match=r"field (vector|classes)"):
        parse_reply(pb.InferReply(**fields).SerializeToString(), Outputs(0, 2))


def test_an_embedding_survives_its_bytes():
    reply = Reply(Answer((), (), (0.5, -0.5, 0.5, -0.5)), 0.0, 0.0, 0.0, 0.0, 0.0)
    assert parse_reply(serialise_reply(reply), Outputs(0, 4)) == reply


def test_another_version_is_refused_with_the_remedy():
    newer = pb.InferRequest(wire_version=99).SerializeToString()
    with pytest.raises(WireError, match="wire_version is 99, expected 1: use the same version"):
        parse_request(newer)


def test_the_header_never_needs_more_than_its_bound():
    widest = Request(
        fingerprint="f" * 16,
        payload="float32+zstd",
        split=1,
        merges=(999,) * 100,
        tokens=10**9,
        width=10**9,
        time_left_s=1000.0,
        device="ü" * 64,
        body=b"",
    )
    assert len(serialise_request(widest)) < HEADER_BYTES


@pytest.mark.parametrize("fields", [{"merges": [1] * 5000}, {"device": "x" * 5000}, {"fingerprint": "x" * 5000}])
def test_other_fields_that_outgrow_their_bound_are_refused(fields):
    message = pb.InferRequest(wire_version=1, body=b"body", **fields)
    with pytest.raises(WireError, match=r"field body comes with 50\d\d bytes of other fields"):
        parse_request(message.SerializeToString())


@pytest.mark.parametrize("name", ["tokens", "width"])
def test_an_image_with_tokens_is_refused(name):
    request = Request("abc", "jpeg90", 0, (0,) * 4, 0, 0, 1.0, "", b"")
    check_request(request, SHAPE, "abc")
    with pytest.raises(WireError, match=f"field {name} is 999, expected 0 for jpeg90"):
        check_request(replace(request, **{name: 999}), SHAPE, "abc")


def test_sizes_must_stand_for_each_patch_once():
    check_sizes(torch.tensor([1.0, 15.0, 4.0]), 2, SHAPE)
    for sizes in ([1.0, 15.0, 3.0], [1.0] * 21, [2.0, 15.0, 3.0]):
        with pytest.raises(WireError, match="field body has sizes"):
            check_sizes(torch.tensor(sizes), 2, SHAPE)


def test_only_the_tokens_of_the_head_come_after_the_last_block():
    shape = replace(SHAPE, head_tokens=1)
    check_sizes(torch.tensor([1.0]), 4, shape)
    with pytest.raises(WireError, match="field body has sizes that add up to 1, expected 20"):
        check_sizes(torch.tensor([1.0]), 3, shape)
    with pytest.raises(WireError, match="sizes other than 1 for the first 1 tokens"):
        check_sizes(torch.tensor([20.0]), 4, shape)


def test_the_largest_body_is_unmerged_float32_or_the_float32_input():
    assert largest_body_bytes(SHAPE) == 4 * 3 * 16 * 16
    assert largest_body_bytes(ModelShape("m", 4, 200, 1, 64, (3, 16, 16))) == 200 * (4 * 64 + 2)


@pytest.mark.parametrize("tap_tokens", [(), (20,), (20, 21), (20, 9), (9, 20), (20, 12, 12)])
def test_taps_that_the_split_does_not_have_are_refused(tap_tokens):
    shape = replace(SHAPE, reads_grid=True, taps=(0, 1, 3))
    request = Request("abc", "int8", 2, (0, 0), 10, 8, 1.0, "", b"", tap_tokens=tap_tokens)
    with pytest.raises(WireError, match="field tap_tokens"):
        check_request(request, shape, "abc")
    check_request(replace(request, tap_tokens=(20, 10)), shape, "abc")
