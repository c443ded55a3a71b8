"""A run that is split anywhere equals the unsplit run; a batch equals each of its frames alone."""

import pytest
import torch

from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.schedules import levels, make_schedule


def pixels(model, batch=1):
    return torch.randn(batch, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))


def test_split_at_every_point_and_every_level_equals_unsplit(any_model):
    engine, shape = EagerEngine(any_model), any_model.shape
    families = ("exponential", "linear", "fixed", "none")
    schedules = [make_schedule(family, level, shape) for family in families for level in levels(family, shape)]
    for merges in {schedule.applied for schedule in schedules}:
        there = engine.embed(pixels(any_model), merges)
        whole = engine.head(engine.run(there, shape.blocks))
        for split in range(shape.blocks + 1):
            there = engine.run(there, split)
            assert there.next_block == split
            assert there.merges == merges[split:]
            assert torch.equal(engine.head(engine.run(there, shape.blocks)), whole)


def test_a_batch_equals_each_input_alone(any_model):
    engine, shape = EagerEngine(any_model), any_model.shape
    inputs = pixels(any_model, batch=5)
    for merges in {make_schedule("exponential", level, shape).applied for level in levels("exponential", shape)}:
        together = engine.head(engine.run(engine.embed(inputs, merges), shape.blocks))
        alone = [engine.head(engine.run(engine.embed(one[None], merges), shape.blocks)) for one in inputs]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_sizes_always_add_up_to_all_tokens(any_model):
    engine, shape = EagerEngine(any_model), any_model.shape
    merges = make_schedule("exponential", levels("exponential", shape)[-1], shape).applied
    activation = engine.embed(pixels(any_model, batch=2), merges)
    for split in range(shape.blocks + (shape.head_tokens is None)):
        activation = engine.run(activation, split)
        assert activation.sizes.sum(dim=1).tolist() == [shape.tokens] * 2
        assert activation.tokens.shape[1] == shape.tokens - sum(merges[:split])


def test_protected_tokens_never_merge(any_model):
    engine, shape = EagerEngine(any_model), any_model.shape
    merges = make_schedule("fixed", levels("fixed", shape)[-1], shape).applied
    late = engine.run(engine.embed(pixels(any_model), merges), shape.blocks - (shape.head_tokens is not None))
    assert late.sizes[0, : shape.protected].tolist() == [1.0] * shape.protected


def test_the_last_block_returns_the_tokens_of_the_head_as_if_it_returned_all(any_model):
    engine, shape, network = EagerEngine(any_model), any_model.shape, any_model.network
    merges = make_schedule("fixed", 2.0, shape).applied
    late = engine.run(engine.embed(pixels(any_model, batch=2), merges), shape.blocks - 1)
    last = engine.run(late, shape.blocks)
    whole, sizes, _ = network.blocks[-1](late.tokens, late.sizes, late.sizes, merges[-1], shape.protected)
    assert last.tokens.shape[:2] == last.sizes.shape == (2, shape.head_tokens or whole.shape[1])
    assert torch.equal(last.sizes, sizes[:, : shape.head_tokens])
    torch.testing.assert_close(last.tokens, whole[:, : shape.head_tokens], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(engine.head(last), network.head_logits(whole, sizes), rtol=1e-4, atol=1e-5)


def test_the_last_block_never_merges_if_the_head_reads_few_tokens(model):
    engine, shape = EagerEngine(model), model.shape
    unmerged, asked = (0,) * shape.blocks, (*(0,) * (shape.blocks - 1), 3)
    plain, merged = (engine.run(engine.embed(pixels(model), merges), shape.blocks) for merges in (unmerged, asked))
    assert torch.equal(plain.tokens, merged.tokens)


def test_merging_changes_the_answer_only_if_something_merges(model):
    engine, shape = EagerEngine(model), model.shape
    unmerged = engine.head(engine.run(engine.embed(pixels(model), (0,) * shape.blocks), shape.blocks))
    merges = make_schedule("fixed", 1.0, shape).applied
    merged = engine.head(engine.run(engine.embed(pixels(model), merges), shape.blocks))
    assert not torch.allclose(unmerged, merged)


@pytest.mark.parametrize("stop", [0, 3])
def test_running_to_a_block_that_is_done_changes_nothing(model, stop):
    engine = EagerEngine(model)
    there = engine.run(engine.embed(pixels(model), (1,) * 6), stop)
    again = engine.run(there, stop)
    assert torch.equal(there.tokens, again.tokens)
    assert there.merges == again.merges
