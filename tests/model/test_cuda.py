"""The GPU's engine on a processor, where all but the graphs is the same; and which graphs are kept."""

import pytest
import torch
from conftest import small_model

from janus_vit.model.engines.cuda import CudaEngine, Recent
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.schedules import levels, make_schedule

TOLERANCE = 5e-2  # of the largest logit: bfloat16


def pixels(model):
    return torch.randn(2, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))


def run(engine, model, merges):
    return engine.head(engine.run(engine.embed(pixels(model), merges), model.shape.blocks))


@pytest.mark.parametrize("place", [0, -1])
def test_answers_are_those_of_eager(any_model, place):
    merges = make_schedule("exponential", levels("exponential", any_model.shape)[place], any_model.shape).applied
    found, wanted = (
        run(engine, any_model, merges) for engine in (CudaEngine(any_model, device="cpu"), EagerEngine(any_model))
    )
    assert (found - wanted).abs().max() < TOLERANCE * wanted.abs().max()


def test_cut_equals_uncut_and_tokens_leave_in_float32(model):
    merges = make_schedule("exponential", levels("exponential", model.shape)[-1], model.shape).applied
    engine = CudaEngine(model, device="cpu")
    start = engine.embed(pixels(model), merges)
    there = engine.run(start, 3)
    assert there.tokens.dtype == there.sizes.dtype == torch.float32
    assert (there.next_block, there.merges) == (3, merges[3:])
    assert torch.equal(engine.run(there, 6).tokens, engine.run(start, 6).tokens)


def test_the_model_is_left_as_it_was_unless_given_away():
    kept, given = small_model(), small_model()
    wanted = run(CudaEngine(kept, device="cpu"), kept, (0,) * 6)
    assert torch.equal(run(CudaEngine(given, keep_model=False, device="cpu"), given, (0,) * 6), wanted)
    assert not any(parameter.is_meta for parameter in kept.network.parameters())
    assert all(block.mlp.fc1.weight.is_meta for block in given.network.blocks)


def test_the_oldest_of_what_was_asked_for_is_dropped():
    made, recent = [], Recent(2)

    def ask(key):
        return recent.get(key, lambda: made.append(key) or f"value of {key}")

    assert [ask(key) for key in "abab"] == ["value of a", "value of b"] * 2
    assert made == ["a", "b"]
    for key in "acb":
        ask(key)
    assert made == ["a", "b", "c", "b"]
