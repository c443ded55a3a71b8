"""The map from patches to tokens and the taps of earlier blocks: kept while merging, and across any split."""

import pytest
import torch
from conftest import small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_vit.errors import WireError
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.merging import follow, match_tokens, merge_tokens
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.schedules import make_schedule
from janus_vit.wire.activations import SentTokens, decode_activation, encode_activation

FLOAT32 = parse_payload("float32")


KINDS = {"taps": {"taps": (0, 2, 3)}, "late tokens": {"late_tokens": 4, "late_block": 3}}


@pytest.fixture(scope="module", params=KINDS)
def dense_model(request):
    return small_model(pooling="grid", classes=0, **KINDS[request.param])


def frame(model):
    return torch.randn(1, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(4, 30), st.data())
def test_a_token_is_the_mean_of_the_patches_that_are_in_it(seed, protected, patches, data):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, protected + patches, 5, generator=generator, dtype=torch.float64)
    tokens, sizes = values, torch.ones(2, protected + patches, dtype=torch.float64)
    places = torch.arange(protected, protected + patches).expand(2, -1)
    for _ in range(3):
        most = (tokens.shape[1] - protected) // 2
        if most == 0:
            break
        merges = data.draw(st.integers(1, most))
        keys = torch.randn(2, 1, tokens.shape[1], 4, generator=generator, dtype=torch.float64)
        matching = match_tokens(keys, merges, protected)
        places = follow(places, matching, tokens.shape[1])
        tokens, sizes = merge_tokens(tokens, sizes, matching)
    for index in range(2):
        for token in range(protected, tokens.shape[1]):
            members = values[index, protected:][places[index] == token]
            assert len(members) == sizes[index, token]
            torch.testing.assert_close(members.mean(0), tokens[index, token])


def test_an_activation_with_taps_crosses_every_split_unchanged(dense_model):
    engine, shape = EagerEngine(dense_model), dense_model.shape
    merges = make_schedule("fixed", 2.0, shape).applied
    start = engine.embed(frame(dense_model), merges)
    whole = engine.run(start, shape.blocks)
    assert [tap.tokens.shape[1] for tap in whole.taps] == [17, 13, 11][: len(shape.taps)]
    for split in range(1, shape.blocks + 1):
        there = engine.run(start, split)
        sent = SentTokens(split, there.tokens.shape[1], there.tap_tokens, FLOAT32)
        body = encode_activation(there, FLOAT32)
        received = decode_activation(body, sent, shape, there.merges, there.fingerprint)
        finished = engine.run(received, shape.blocks)
        assert len(there.taps) == len(shape.taps_before(split))
        assert torch.equal(finished.tokens, whole.tokens)
        assert torch.equal(finished.token_of_patch, whole.token_of_patch)
        for tap, expected in zip(finished.taps, whole.taps, strict=True):
            assert torch.equal(tap.tokens, expected.tokens)
            assert torch.equal(tap.token_of_patch, expected.token_of_patch)


def test_the_planner_knows_the_bytes_of_every_split(dense_model, make_profile):
    from janus_vit.planning.table import build_table, make_options

    engine, shape = EagerEngine(dense_model), dense_model.shape
    schedules = [make_schedule("fixed", level, shape) for level in (0.0, 2.0)]
    options = make_options(shape, range(1, shape.blocks + 1), ["float32", "int8"], [])
    table = build_table(shape, schedules, options, make_profile(1e-5), make_profile(1e-5))
    for row, schedule in enumerate(schedules):
        start = engine.embed(frame(dense_model), schedule.applied)
        for column, option in enumerate(options):
            body = encode_activation(engine.run(start, option.split), parse_payload(option.payload))
            assert table.size_bytes[row, column] == len(body)


@pytest.mark.parametrize(("place", "value"), [(0, 0), (0, 200), (1, 3), (20, 1)])
def test_places_that_do_not_fit_the_tokens_are_refused(dense_model, place, value):
    engine, shape = EagerEngine(dense_model), dense_model.shape
    there = engine.run(engine.embed(frame(dense_model), (5, 0, 0, 0, 0, 0)), 2)
    sent = SentTokens(2, there.tokens.shape[1], there.tap_tokens, FLOAT32)
    body = bytearray(encode_activation(there, FLOAT32))
    before = body[place]
    body[place] = value if before != value else value + 1
    with pytest.raises(WireError, match=r"field body has (places|sizes)"):
        decode_activation(bytes(body), sent, shape)
