"""Ragged batches: each frame is as alone, and sizes ride in the keys as well as in a mask."""

import pytest
import torch
from conftest import small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from janus_vit.model.engines.gpu import ragged
from janus_vit.model.engines.gpu.ragged import RaggedTokens, join, with_size_channels
from janus_vit.model.layers import size_bias

COUNTS = st.lists(st.integers(3, 23), min_size=1, max_size=5)


def frames_of(counts, width=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [torch.randint(1, 9, (1, count), generator=generator).float() for count in counts]
    return [
        (torch.randn(1, count, width, generator=generator), size) for count, size in zip(counts, sizes, strict=True)
    ]


@given(COUNTS)
def test_frames_come_out_as_they_went_in(counts):
    frames = frames_of(counts)
    tokens = join(frames)
    assert tokens.counts == tuple(counts)
    assert tokens.offsets[-1] == len(tokens.rows) == len(tokens.sizes) == sum(counts)
    for (rows, sizes), (found, found_sizes) in zip(frames, tokens.frames(), strict=True):
        assert torch.equal(rows, found)
        assert torch.equal(sizes, found_sizes)


@settings(deadline=None, max_examples=30)
@given(COUNTS, st.integers(0, 10**6), st.booleans(), st.sampled_from(["class", "registers", "swiglu"]), st.data())
def test_a_block_over_rows_is_the_block_of_each_frame(counts, seed, proportional, kind, data):
    changes = {"class": {}, "registers": {"prefix": 2, "layer_scale": True}, "swiglu": {"activation": "swiglu"}}
    model = small_model(**changes[kind])
    protected = model.network.architecture.prefix
    merges = [data.draw(st.integers(0, (count - protected) // 2)) for count in counts]
    block, frames = model.network.blocks[1], frames_of(counts, seed=seed)
    found = ragged.run_block(block, join(frames), proportional, merges, protected)
    for (rows, sizes), number, frame in zip(frames, merges, found.frames(), strict=True):
        wanted = block(rows, sizes, sizes if proportional else None, number, protected)
        torch.testing.assert_close(frame[0], wanted[0], rtol=1e-4, atol=1e-4)
        assert torch.equal(frame[1], wanted[1])


@pytest.mark.parametrize("head_tokens", [1, 2])
def test_the_last_block_gives_the_rows_that_the_head_reads(model, head_tokens):
    block, frames = model.network.blocks[-1], frames_of((5, 17, 9))
    found = ragged.run_block(block, join(frames), True, (0, 0, 0), 1, head_tokens)
    assert found.counts == (head_tokens,) * 3
    for (rows, sizes), frame in zip(frames, found.frames(), strict=True):
        wanted = block(rows, sizes, sizes, 0, 1, head_tokens)
        torch.testing.assert_close(frame[0], wanted[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head_width", [8, 24, 62, 64, 80, 88])
@pytest.mark.parametrize("padding", [0, 5])
def test_sizes_in_the_keys_equal_sizes_in_a_mask(head_width, padding):
    """Padding is tokens of size zero, whatever they contain."""
    generator = torch.Generator().manual_seed(head_width)
    query, key, value = torch.randn(3, 2, 31 + padding, 4, head_width, generator=generator)
    sizes = torch.randint(1, 300, (2, 31 + padding), generator=generator).float()
    sizes[:, 31:] = 0
    bias = size_bias(sizes[:, :31], torch.float32, 31)
    wanted = attended(query[:, :31], key[:, :31], value[:, :31], bias)
    wide = with_size_channels(query[:, :31], key, value, sizes)
    assert {part.shape[-1] for part in wide} == {ragged.widened(head_width)}
    assert ragged.widened(head_width) % 8 == 0
    found = attended(*wide, None)
    assert not found[..., head_width:].any()
    torch.testing.assert_close(found[..., :head_width], wanted, rtol=1e-5, atol=1e-5)


def attended(query, key, value, bias):
    heads = (part.transpose(1, 2) for part in (query, key, value))
    return F.scaled_dot_product_attention(*heads, attn_mask=bias, scale=1.0).transpose(1, 2)


def test_a_head_of_64_becomes_72():
    assert ragged.widened(64) == 72


def test_two_channels_keep_what_one_in_bfloat16_loses():
    sizes = torch.arange(1.0, 600.0)
    channels = ragged.size_channels(sizes, torch.bfloat16).float()
    assert (channels[:, 0] - sizes.log()).abs().max() > 5e-3
    assert (channels.sum(dim=1) - sizes.log()).abs().max() < 5e-5


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 3e38])
def test_a_poisoned_frame_stays_alone(model, poison):
    frames = frames_of((9, 17, 12))
    block, merges = model.network.blocks[0], (2, 5, 0)
    wanted = ragged.run_block(block, join(frames), True, merges, 1).frames()
    frames[1] = (torch.full_like(frames[1][0], poison), frames[1][1])
    found = ragged.run_block(block, join(frames), True, merges, 1).frames()
    assert not found[1][0].isfinite().all()
    assert all(torch.equal(found[index][0], wanted[index][0]) for index in (0, 2))


def test_offsets_are_the_first_rows():
    assert RaggedTokens(torch.zeros(9, 1), torch.ones(9), (2, 4, 3)).offsets == (0, 2, 6, 9)
    assert ragged.first_rows((2, 4, 3), 2) == [0, 1, 2, 3, 6, 7]
