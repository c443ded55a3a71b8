"""The GPU's engine, on a processor where there is none: all but the graphs is the same; and which graphs are kept."""

import pytest
import torch
from conftest import small_model

from janus_vit.model.engines.cuda import Captures, CudaEngine
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.planning.schedules import levels, make_schedule

TOLERANCE = 5e-2  # of the largest logit: bfloat16
DEVICE = "cuda" if ENGINES["cuda"].runs_here else "cpu"


def pixels(model):
    return torch.randn(2, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))


def run(engine, model, merges):
    return engine.head(engine.run(engine.embed(pixels(model), merges), model.shape.blocks))


@pytest.mark.parametrize("place", [0, -1])
def test_answers_are_those_of_eager(any_model, place):
    merges = make_schedule("exponential", levels("exponential", any_model.shape)[place], any_model.shape).applied
    found, wanted = (
        run(engine, any_model, merges) for engine in (CudaEngine(any_model, device=DEVICE), EagerEngine(any_model))
    )
    assert (found.cpu() - wanted).abs().max() < TOLERANCE * wanted.abs().max()


def test_cut_equals_uncut_and_tokens_leave_in_float32(model):
    merges = make_schedule("exponential", levels("exponential", model.shape)[-1], model.shape).applied
    engine = CudaEngine(model, device=DEVICE)
    start = engine.embed(pixels(model), merges)
    there = engine.run(start, 3)
    assert there.tokens.dtype == there.sizes.dtype == torch.float32
    assert (there.next_block, there.merges) == (3, merges[3:])
    assert torch.equal(engine.run(there, 6).tokens, engine.run(start, 6).tokens)


def test_the_model_is_left_as_it_was_unless_given_away():
    kept, given = small_model(), small_model()
    wanted = run(CudaEngine(kept, device=DEVICE), kept, (0,) * 6)
    assert torch.equal(run(CudaEngine(given, keep_model=False, device=DEVICE), given, (0,) * 6), wanted)
    assert not any(parameter.is_meta for parameter in kept.network.parameters())
    assert all(block.mlp.fc1.weight.is_meta for block in given.network.blocks)


@pytest.mark.parametrize("often", [2, 5])
def test_runs_that_repeat_themselves_give_the_same(model, often):
    """On a GPU the later ones are replayed, at other merges in turn, and leave what was given before alone."""
    engine, plans = CudaEngine(model, device=DEVICE), [(0,) * 6, (4, 3, 2, 1, 1, 0)]
    starts = [engine.embed(pixels(model), merges) for merges in plans]
    first = [engine.run(start, 6).tokens for start in starts]
    kept = [tokens.clone() for tokens in first]
    for _ in range(often):
        for start, wanted in zip(starts, kept, strict=True):
            assert torch.equal(engine.run(start, 6).tokens, wanted)
    assert all(map(torch.equal, first, kept))
    graphs = len(plans) if DEVICE == "cuda" and often == 5 else 0
    assert often < 5 or len(engine._captures._graphs) == graphs


def captures(limit=2, often=2):
    """Captures, and a way to ask for one by name; what is captured is its name and that of the one it was given."""
    kept = Captures(limit, often)
    return kept, lambda key: kept.get(key, lambda other: (key, other and other[0]))


def test_what_comes_often_is_captured_once_beside_another():
    _, ask = captures()
    assert [ask("a"), ask("a"), ask("b"), ask("b"), ask("a")] == [None, ("a", None), None, ("b", "a"), ("a", None)]


def test_when_there_are_too_many_all_are_dropped_at_once():
    _, ask = captures()
    for key in "aabbc":
        ask(key)
    assert ask("c") is None  # and so none is left
    assert [ask(key) for key in "aabb"] == [None, ("a", None), None, ("b", "a")]


def test_what_cannot_be_captured_is_not_tried_again_and_all_others_are_dropped():
    kept, ask = captures()
    ask("b")
    assert ask("b") == ("b", None)
    tried = []

    def fail(other):
        tried.append(other)
        raise RuntimeError("out of memory")

    with pytest.warns(RuntimeWarning, match="some blocks run without a CUDA graph: out of memory"):
        assert [kept.get("a", fail) for _ in range(5)] == [None] * 5
    assert tried == [("b", None)]
    assert ask("b") == ("b", None)  # captured anew, with none beside it


def test_what_seldom_comes_does_not_pile_up():
    kept, ask = captures(often=3)
    for key in range(10_000):
        ask(key)
    assert len(kept._asked) < 1_000
