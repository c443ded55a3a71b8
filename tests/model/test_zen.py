"""ZenDNN: what keeps it from running is said with the way out, and what is known to go wrong there does not."""

import functools
import threading
import time
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
import torch
from conftest import small_model
from torch.nn import functional as F

from janus_vit.errors import InputError
from janus_vit.model.engines import zen
from janus_vit.model.engines.select import KINDS, make_engine
from janus_vit.model.engines.trial import linear_difference
from janus_vit.model.engines.zen import ZenLinear
from janus_vit.model.engines.zen_int8 import ZenInt8Linear

INSTALLED = KINDS["zen"].installed
NAMES = [name for name, kind in KINDS.items() if kind.package == "zentorch"]
RUNS = INSTALLED and KINDS["zen-int8"].load().obstacle() is None and KINDS["zen-bf16"].load().obstacle() is None


def where_it_runs(test):
    """Elsewhere, what there is to see is that it is refused or another engine runs instead."""
    if RUNS:
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


@pytest.fixture
def ask(monkeypatch):
    """Ask again why its library cannot be loaded, on a machine that has it for this torch."""
    monkeypatch.setattr(zen, "version", lambda package: f"{'.'.join(torch.__version__.split('.')[:2])}.7")
    monkeypatch.setattr(zen, "find_spec", lambda name: SimpleNamespace(origin="/somewhere/zentorch/__init__.py"))
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    return zen.load_library.__wrapped__


def operations(monkeypatch, **those):
    monkeypatch.setattr(torch.ops, "zentorch", SimpleNamespace(**those), raising=False)


def test_one_for_another_torch_says_which_to_install(ask, monkeypatch):
    monkeypatch.setattr(zen, "version", lambda package: "2.5.1")
    ours = ".".join(torch.__version__.split(".")[:2])
    wanted = f"zentorch 2.5.1 is not made for torch {torch.__version__}: pip install 'zentorch=={ours}.*'"
    assert ask() == wanted


def test_a_module_of_that_name_from_elsewhere_is_not_loaded(ask, monkeypatch):
    def unknown(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(zen, "version", unknown)
    assert "is not that of the package zentorch: pip install 'janus-vit[zen]'" in ask()


def test_a_library_that_does_not_load_is_named(ask, monkeypatch):
    def broken(path):
        raise OSError(f"{path}: file too short\nand more")

    monkeypatch.setattr(torch.ops, "load_library", broken)
    assert ask().endswith("cannot be loaded: /somewhere/zentorch/libzentorch.so: file too short")


def test_a_processor_without_the_instructions_is_told(ask, monkeypatch):
    operations(monkeypatch, zentorch_is_avx512_supported=lambda: False)
    assert ask() == "the processor has no AVX-512"
    operations(monkeypatch, zentorch_is_avx512_supported=lambda: True)
    assert ask() is None


@pytest.mark.parametrize("name", ["zen", "zen-bf16"])
def test_operations_of_another_version_are_noticed(name, monkeypatch):
    monkeypatch.setattr(zen, "load_library", lambda: None)
    monkeypatch.setattr(zen, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(zen, "version", lambda package: "2.13.0")
    dtype = torch.bfloat16 if name == "zen-bf16" else torch.float32
    operations(monkeypatch)
    assert "zentorch 2.13.0 has other operations: " in zen._obstacle.__wrapped__(dtype)
    operations(
        monkeypatch,
        zentorch_weight_prepack_for_linear=lambda weight: weight,
        zentorch_linear_unary=lambda x, weight, bias, **_: x.new_zeros(*x.shape[:-1], len(weight)),
        zentorch_linear_unary_binary=lambda x, weight, residual, bias, **_: residual,
        zentorch_sdpa=lambda query, key, value, **_: (query,),
    )
    assert "its results differ from plain ones by" in zen._obstacle.__wrapped__(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_each_has_one_of_its_precision_to_fall_back_to(name):
    kind = KINDS[name]
    assert KINDS[kind.fallback].precision == kind.precision
    assert kind.fallback not in NAMES


@where_it_runs
def test_more_inputs_than_one_product_takes_are_right():
    """Of weights with more than 2,048 inputs its own layout is read wrongly, which is far off and not by rounding."""
    for inputs in (2048, 2049, 4096, 5000):
        assert linear_difference(ZenInt8Linear, torch.bfloat16, inputs) < 0.1


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
def test_weights_in_the_place_of_others_are_their_own():
    """Memory that is freed is soon another's: nothing may be remembered by its address."""
    bias, x = torch.zeros(96), randn(5, 64)
    with torch.inference_mode():
        for seed in range(8):
            weight = randn(96, 64, seed=seed)
            wanted = F.linear(x, weight)
            assert (ZenLinear(weight, bias)(x) - wanted).abs().max() < 1e-3
            assert (ZenInt8Linear(weight, bias)(x).float() - wanted).abs().max() < 1


@where_it_runs
def test_threads_that_run_engines_at_once_neither_wait_for_ever_nor_disturb_each_other():
    """A device that finishes a frame itself, beside a cloud in the same process that still works on it."""
    model, torch_threads = small_model(width=48, heads=3, mlp_width=96, image_size=64), torch.get_num_threads()
    engines = [make_engine(model, name) for name in (*NAMES, "zen")]
    starts = [engine.embed(randn(1, 3, 64, 64, seed=seed), (9, 5, 2, 0, 0, 0)) for seed, engine in enumerate(engines)]
    wanted = [engine.run(start, 6).tokens for engine, start in zip(engines, starts, strict=True)]
    right = [0] * len(engines)

    def work(index):
        for _ in range(200):
            right[index] += torch.equal(engines[index].run(starts[index], 6).tokens, wanted[index])

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(engines))]
    try:
        torch.set_num_threads(2)
        for thread in threads:
            thread.start()
        late_s = time.monotonic() + 30
        for thread in threads:
            thread.join(max(0.0, late_s - time.monotonic()))
    finally:
        torch.set_num_threads(torch_threads)
    assert right == [200] * len(engines)


@where_it_runs
def test_blocks_in_int8_take_a_quarter_of_the_memory():
    given = small_model(width=96, mlp_width=384, heads=4)
    engine = make_engine(given, "zen-int8", keep_model=False)
    linears = [each for block in engine._blocks for each in (block._qkv, block._proj, block._fc1, block._fc2)]
    held = sum(part.nbytes for linear in linears for part in linear._parts)
    assert held == len(engine._blocks) * (3 * 96 * 96 + 96 * 96 + 2 * 96 * 384)
