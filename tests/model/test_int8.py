"""Rows in 8 bits: each is rounded alone, zeros and extremes included, and products are as exact as integers allow."""

import functools

import pytest
import torch
from conftest import small_model
from torch.nn import functional as F

from janus_vit.model.engines import int8
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.int8 import Int8Engine, Int8Linear, quantise_rows


def multiplies(test):
    """On a CPU without these products, only the fallback can be tested."""
    if Int8Engine.unavailable_reason() is None:
        return test

    @functools.wraps(test)
    def another_runs(**_):
        assert make_engine(small_model(), "int8").name != "int8"

    return another_runs


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def restored(rows, scales):
    return (rows.float() - 128) * scales


def test_rows_come_back_within_half_a_step():
    x = randn(5, 33) * torch.tensor([1e-6, 1e-2, 1.0, 1e2, 1e6])[:, None]
    rows, scales = quantise_rows(x)
    assert rows.dtype == torch.uint8
    assert ((restored(rows, scales) - x).abs() <= 0.501 * scales).all()


def test_both_ends_of_the_range_are_exact():
    rows, scales = quantise_rows(torch.tensor([[127.0, -127.0, 0.0, 1.0]]))
    assert rows.tolist() == [[255, 1, 128, 129]]
    assert scales.tolist() == [[1.0]]


def test_zeros_and_the_smallest_numbers_are_zeros():
    rows, scales = quantise_rows(torch.tensor([[0.0, 0.0], [1e-45, -1e-45]]))
    assert rows.tolist() == [[128, 128], [128, 128]]
    assert scales.isfinite().all()


@multiplies
@pytest.mark.parametrize("wrong", [float("inf"), float("-inf"), float("nan")])
def test_a_row_that_is_not_finite_gives_none_and_leaves_the_others_alone(wrong):
    linear, x = Int8Linear(randn(8, 16), torch.zeros(8)), randn(3, 16, seed=1)
    with torch.inference_mode():
        wanted = linear(x)
        x[1, 2] = wrong
        found = linear(x)
    assert not found[1].isfinite().any()
    assert torch.equal(found[[0, 2]], wanted[[0, 2]])


@multiplies
def test_a_token_is_rounded_as_it_would_be_alone():
    linear, quiet = Int8Linear(randn(24, 40), randn(24)), randn(1, 40, seed=1)
    loud = 1e4 * randn(6, 40, seed=2)
    with torch.inference_mode():
        assert torch.equal(linear(torch.cat([quiet, loud]))[:1], linear(quiet))


@multiplies
@pytest.mark.parametrize(
    ("outputs", "inputs", "rows"), [(1, 1, 1), (7, 3, 5), (65, 17, 2), (96, 384, 1), (130, 64, 33)]
)
def test_products_of_odd_shapes_are_near_the_plain_ones(outputs, inputs, rows):
    weight, bias, x = randn(outputs, inputs), randn(outputs, seed=1), randn(2, rows, inputs, seed=2)
    residual = randn(2, rows, outputs, seed=3)
    linear, wanted = Int8Linear(weight, bias), F.linear(x, weight, bias)
    # Each factor is off by at most half a step, 1 / 254 of the largest in its row.
    allowed = x.abs().amax(dim=-1, keepdim=True) * weight.abs().amax(dim=-1) * inputs * (2 / 254 + 1 / 254**2) + 1e-4
    with torch.inference_mode():
        assert ((linear(x) - wanted).abs() <= allowed).all()
        assert ((linear.plus(x, residual) - wanted - residual).abs() <= allowed).all()


@multiplies
def test_an_output_whose_weights_are_zeros_is_its_bias():
    weight, bias = randn(4, 8), torch.tensor([1.0, 2.0, 3.0, 4.0])
    weight[1] = 0
    with torch.inference_mode():
        out = Int8Linear(weight, bias)(randn(3, 8, seed=1))
    assert out[:, 1].tolist() == [2.0, 2.0, 2.0]


@multiplies
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_activations_follow_the_product(name):
    weight, x = torch.eye(8) * 127, torch.arange(-4.0, 4.0)[None]
    x[0, 0] = 4  # a row whose scale is 4 / 127
    wanted = {"gelu": F.gelu, "gelu_tanh": lambda v: F.gelu(v, approximate="tanh"), "silu": F.silu}[name]
    rows, scales = quantise_rows(x)
    with torch.inference_mode():
        found = Int8Linear(weight / 127, torch.zeros(8), name)(x)
    assert torch.allclose(found, wanted(restored(rows, scales)), atol=1e-6)


@multiplies
def test_attention_is_in_float32_where_bfloat16_is_not_multiplied(monkeypatch):
    monkeypatch.setattr(int8, "multiplies_bfloat16", lambda: False)
    model = small_model()
    engine, plain = Int8Engine(model), EagerEngine(model)
    start = plain.embed(randn(2, 3, 32, 32), (2, 2, 1, 1, 0, 0))
    found, wanted = engine.head(engine.run(start, 6)), plain.head(plain.run(start, 6))
    assert engine.dtype == torch.float32
    assert (found - wanted).abs().max() < 0.1 * wanted.abs().max()


def test_a_cpu_that_cannot_run_it_is_named_and_a_fallback_runs(monkeypatch):
    told = []
    monkeypatch.setattr(int8, "_unavailable_reason", lambda: "no such instructions")
    assert make_engine(small_model(), "int8", on_fallback=told.append).name in ("packed-bf16", "packed", "eager")
    assert told[0] == "engine 'int8' cannot run here (no such instructions): 'packed-bf16' runs instead"


@multiplies
def test_products_that_saturate_are_noticed(monkeypatch):
    """Without VNNI the sum of two products saturates at 16 bits."""
    ask = int8._unavailable_reason.__wrapped__
    assert ask() is None
    monkeypatch.setattr(Int8Linear, "__call__", lambda self, x: torch.full((7, 96), 32767 / 127**2))
    assert ask() == "the CPU has no VNNI instructions: its int8 products saturate"


@multiplies
def test_blocks_take_a_quarter_of_the_memory():
    """A weight takes one byte, and little else is stored."""
    given = small_model(width=96, mlp_width=384, heads=4)
    count = sum(block_weights(block) for block in given.network.blocks)
    engine = Int8Engine(given, keep_model=False)
    packed = sum(linear._weight.nbytes for block in engine._blocks for linear in linears(block))
    assert count <= packed < 1.2 * count


def block_weights(block):
    return sum(linear.weight.numel() for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2))


def linears(block):
    return block._qkv, block._proj, block._fc1, block._fc2
