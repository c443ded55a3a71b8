"""ZenDNN: the reason why it cannot run comes with a fix, and its known faults do not occur."""

import functools
import math
import threading
import time
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
import torch
from conftest import small_model
from patience import PATIENCE_S
from torch.nn import functional as F

from janus_vit.errors import InputError
from janus_vit.model.engines import trial, zen, zen_int8
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.model.engines.trial import deviation_reason, linear_difference, worst
from janus_vit.model.engines.zen import ZenLinear
from janus_vit.model.engines.zen_int8 import ZenInt8Engine, ZenInt8Linear

INSTALLED = ENGINES["zen"].installed
NAMES = [name for name, kind in ENGINES.items() if kind.package == "zentorch"]
RUN = [name for name in NAMES if ENGINES[name].runs_here]
TURNS = 50  # runs of each thread


def where_it_runs(test):
    """On other machines, only the refusal of int8 or the fallback can be tested."""
    if "zen-int8" in RUN:
        return test

    @functools.wraps(test)
    def another_runs():
        if INSTALLED:
            assert make_engine(small_model(), "zen-int8").name != "zen-int8"
        else:
            with pytest.raises(InputError, match=r"needs zentorch: pip install 'janus-vit\[zen\]'"):
                make_engine(small_model(), "zen-int8")

    return another_runs


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Package:
    """A distribution as `importlib.metadata` describes it."""

    version = "2.14.7"

    def locate_file(self, path):
        return f"/somewhere/{path}"


@pytest.fixture
def ask(monkeypatch):
    """Return a function that asks again why the library cannot be loaded, as if it were installed for this torch."""
    monkeypatch.setattr(zen, "distribution", lambda name: Package())
    monkeypatch.setattr(torch, "__version__", "2.14.1")
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    return zen.load_library.__wrapped__


def operations(monkeypatch, **those):
    monkeypatch.setattr(torch.ops, "zentorch", SimpleNamespace(**those), raising=False)


def test_a_version_for_another_torch_says_what_to_install(ask, monkeypatch):
    monkeypatch.setattr(Package, "version", "2.5.1")
    wanted = f"zentorch 2.5.1 is not made for torch {torch.__version__}: pip install 'janus-vit[zen]'"
    assert ask() == wanted


def test_a_version_that_leaks_memory_is_not_used(ask, monkeypatch):
    monkeypatch.setattr(Package, "version", "2.13.0.2")
    monkeypatch.setattr(torch, "__version__", "2.13.0")
    assert ask() == "zentorch 2.13.0.2 leaks memory in every call: pip install 'janus-vit[zen]'"


def test_a_module_of_that_name_from_elsewhere_is_not_loaded(ask, monkeypatch):
    def unknown(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(zen, "distribution", unknown)
    assert ask() == "the package zentorch is not installed: pip install 'janus-vit[zen]'"


def test_a_library_that_does_not_load_is_named(ask, monkeypatch):
    def broken(path):
        raise OSError(f"{path}: file too short\nand more")

    monkeypatch.setattr(torch.ops, "load_library", broken)
    assert ask().endswith("cannot be loaded: /somewhere/zentorch/libzentorch.so: file too short")


def test_an_engine_is_not_made_without_its_library(monkeypatch):
    monkeypatch.setattr(zen, "load_library", lambda: "no such library")
    for make in (zen.ZenEngine, zen.PackedZenEngine, ZenInt8Engine):
        with pytest.raises(InputError, match=f"engine '{make.name}' cannot run here: no such library"):
            make(small_model())


def test_a_cpu_without_the_instructions_is_named(ask, monkeypatch):
    operations(monkeypatch, zentorch_is_avx512_supported=lambda: False)
    assert ask() == "the CPU has no AVX-512"
    operations(monkeypatch, zentorch_is_avx512_supported=lambda: True)
    assert ask() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("unavailable_reason", [zen._unavailable_reason, zen.product_unavailable_reason])
def test_operations_of_another_version_are_noticed(unavailable_reason, dtype, monkeypatch):
    monkeypatch.setattr(zen, "load_library", lambda: None)
    monkeypatch.setattr(zen, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(trial, "version", lambda package: "2.13.0")
    operations(monkeypatch)
    assert "zentorch 2.13.0 has other operations: " in unavailable_reason.__wrapped__(dtype)
    operations(
        monkeypatch,
        zentorch_weight_prepack_for_linear=lambda weight: weight,
        zentorch_linear_unary=lambda x, weight, bias, **_: x.new_zeros(*x.shape[:-1], len(weight)),
        zentorch_linear_unary_binary=lambda x, weight, residual, bias, **_: residual,
        zentorch_sdpa=lambda query, key, value, **_: (query,),
    )
    assert "its results differ from plain ones by" in unavailable_reason.__wrapped__(dtype)


def test_a_difference_of_nan_is_a_reason():
    assert math.isnan(worst([0.0, float("nan")]))
    assert deviation_reason(worst([0.0, float("nan"), 1.0]), 2.0) == "its results differ from plain ones by nan"
    assert deviation_reason(1.0, 2.0) is None


@pytest.mark.parametrize("name", NAMES)
def test_each_engine_has_a_fallback_of_its_precision(name):
    kind = ENGINES[name]
    assert ENGINES[kind.fallback].precision == kind.precision
    assert kind.fallback not in NAMES


@where_it_runs
def test_more_inputs_than_one_product_takes_are_right():
    """The library reads its own packed weights wrongly above 2,048 inputs; the error is far larger than rounding."""
    for inputs in (1025, 1026, 2047, 2048, 2049, 4096, 4304, 5000):
        assert linear_difference(ZenInt8Linear, zen_int8.attention_dtype(), inputs) < 0.1


@where_it_runs
def test_a_token_is_rounded_as_it_would_be_alone():
    linear, quiet = ZenInt8Linear(randn(24, 40), randn(24)), randn(1, 40, seed=1)
    loud = 1e4 * randn(6, 40, seed=2)
    with torch.inference_mode():
        assert torch.equal(linear(torch.cat([quiet, loud]))[:1], linear(quiet))


@where_it_runs
def test_rows_of_zeros_and_outputs_of_zeros_are_the_bias():
    weight, bias = randn(4, 8), torch.tensor([1.0, 2.0, 3.0, 4.0])
    weight[1] = 0
    x = randn(3, 8, seed=1)
    x[2] = 0
    with torch.inference_mode():
        out = ZenInt8Linear(weight, bias)(x).float()
    assert out[:, 1].tolist() == [2.0, 2.0, 2.0]
    assert out[2].tolist() == bias.tolist()


@where_it_runs
def test_new_weights_at_the_address_of_freed_ones_are_used():
    """Freed memory is reused, so nothing may be cached by its address."""
    bias, x = torch.zeros(96), randn(5, 64)
    with torch.inference_mode():
        for seed in range(8):
            weight = randn(96, 64, seed=seed)
            wanted = F.linear(x, weight)
            assert (ZenLinear(weight, bias)(x) - wanted).abs().max() < 1e-3
            assert (ZenInt8Linear(weight, bias)(x).float() - wanted).abs().max() < 1


@where_it_runs
def test_threads_that_run_engines_at_once_neither_deadlock_nor_disturb_each_other():
    """As when a device finishes a frame locally while a cloud in the same process still computes it."""
    model, right = small_model(width=48, heads=3, mlp_width=96, image_size=64), [0] * len(RUN)

    def work(index, engine, start, wanted):
        for _ in range(TURNS):
            right[index] += torch.equal(engine.run(start, 6).tokens, wanted)

    torch_threads, late_s = torch.get_num_threads(), time.monotonic() + 4 * PATIENCE_S
    try:
        torch.set_num_threads(2)
        threads = []
        for index, name in enumerate(RUN):
            engine = make_engine(model, name)
            start = engine.embed(randn(1, 3, 64, 64, seed=index), (9, 5, 2, 0, 0, 0))
            arguments = (index, engine, start, engine.run(start, 6).tokens)
            threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, late_s - time.monotonic()))
    finally:
        torch.set_num_threads(torch_threads)
    assert right == [TURNS] * len(RUN)


@where_it_runs
def test_blocks_in_int8_take_a_quarter_of_the_memory():
    given = small_model(width=96, mlp_width=384, heads=4)
    engine = make_engine(given, "zen-int8", keep_model=False)
    linears = [each for block in engine._blocks for each in (block._qkv, block._proj, block._fc1, block._fc2)]
    held = sum(part.nbytes for linear in linears for part in linear._parts)
    assert held == len(engine._blocks) * (3 * 96 * 96 + 96 * 96 + 2 * 96 * 384)
