"""Engines by name: refusals, fallbacks, and the fastest engine, which is measured once and cached."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import small_model
from torch.nn import functional as F

from janus_vit.errors import InputError
from janus_vit.model.engines import autotune as choice
from janus_vit.model.engines import block_variant, mkl, packed, zen
from janus_vit.model.engines import factory as select
from janus_vit.model.engines.block_variant import BlockVariant, fastest_variant
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES, EngineSpec, check_engine, precision_of
from janus_vit.model.stage import Activation

NEEDS_PACKED = ENGINES["packed"].load().unavailable_reason() is None
LEAST_S = block_variant._LEAST_S  # other tests time blocks only briefly


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Use an empty cache directory; return the file of the choices."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return choice.cache_file()


def measured(monkeypatch, **times_s):
    """Make measurements return these times; return the list that counts measurements."""
    runs = []
    monkeypatch.setattr(choice, "block_seconds", lambda model, kinds: runs.append(len(kinds)) or times_s)
    return runs


def test_an_unknown_engine_is_refused_with_the_names(model):
    for ask in (check_engine, lambda name: make_engine(model, name)):
        with pytest.raises(InputError, match="engine 'warp' is unknown: use one of auto, auto-bf16, auto-int8, eager"):
            ask("warp")


def test_an_engine_that_is_not_installed_names_its_extra(model, monkeypatch):
    missing = replace(ENGINES["packed"], name="other", package="no_such_package_here", extra="fast")
    monkeypatch.setitem(select.ENGINES, "other", missing)
    with pytest.raises(InputError, match=r"needs no_such_package_here: pip install 'janus-vit\[fast\]'"):
        make_engine(model, "other")
    assert make_engine(model).name != "other"


def test_what_this_machine_cannot_run_falls_back_and_says_so(model, monkeypatch):
    for module, name in (
        (packed, "product_unavailable_reason"),
        (zen, "_unavailable_reason"),
        (mkl, "_unavailable_reason"),
    ):
        monkeypatch.setattr(module, name, lambda *dtype: "no such instructions")
    told = []
    assert make_engine(model, "packed-bf16", on_fallback=told.append).name == "eager"
    assert told == [
        "engine 'packed-bf16' cannot run here (no such instructions): 'packed' runs instead",
        "engine 'packed' cannot run here (no such instructions): 'eager' runs instead",
    ]
    told.clear()
    assert make_engine(model, on_fallback=told.append).name == "eager"
    assert told == []  # auto promised no other
    assert make_engine(model, "auto-bf16", on_fallback=told.append).name == "eager"
    assert told[0] == "engine 'packed-bf16' cannot run here (no such instructions): 'packed' runs instead"


def test_packed_checks_private_operations_of_torch_before_use(monkeypatch):
    class Zeros:
        """An operation with a wrong result."""

        def __call__(self, x, weight, *others):
            return x.new_zeros(*x.shape[:-1], len(weight))

        def binary(self, x, residual, *others):
            return residual

    class Operations:
        """Operations of another torch version."""

        _reorder_linear_weight = staticmethod(lambda weight: weight)

    ask = packed.product_unavailable_reason.__wrapped__
    monkeypatch.setattr(torch.ops, "mkldnn", Operations)
    assert "has other operations: " in ask(torch.float32)
    Operations._linear_pointwise = Zeros()
    assert "its results differ from plain ones by" in ask(torch.float32)


def test_auto_takes_the_fastest_and_measures_it_once(model, monkeypatch, cache):
    if not NEEDS_PACKED:
        assert make_engine(model).name == "eager"
        return
    runs = measured(monkeypatch, eager=1e-3, packed=2e-3)
    assert [make_engine(model).name for _ in range(2)] == ["eager", "eager"]
    assert len(runs) == 1
    assert make_engine(small_model(depth=4)).name == "eager"
    assert len(runs) == 2  # another shape, another choice
    cache.unlink()
    measured(monkeypatch, eager=2e-3, packed=1e-3)
    assert make_engine(model).name == "packed"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "other"}', '{"schema": "janus-vit/engines/1", "choices": 1}']
)
def test_a_damaged_cache_is_measured_again_and_replaced(model, cache, text):
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    chosen = make_engine(model).name
    assert choice._read(cache) == {} if len(select.ENGINES) == 1 else chosen in choice._read(cache).values()


def test_an_unknown_name_in_the_cache_is_measured_again(model, monkeypatch, cache):
    make_engine(model)
    chosen = json.loads(cache.read_text())
    cache.write_text(json.dumps({**chosen, "choices": dict.fromkeys(chosen["choices"], "gone")}))
    assert "gone" in cache.read_text()
    assert make_engine(model).name in ENGINES
    assert "gone" not in cache.read_text()


def test_a_cache_that_cannot_be_written_is_no_error(model, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert make_engine(model).name in ENGINES


@pytest.mark.parametrize(
    ("name", "precision", "asked"),
    [
        ("auto", "float32", ["eager", "packed", "mkl", "cuda-f32", "zen", "packed-zen"]),
        ("auto-bf16", "bfloat16", ["packed-bf16", "cuda", "zen-bf16"]),
        ("auto-int8", "int8", ["int8", "zen-int8"]),
    ],
)
def test_auto_chooses_among_the_engines_of_one_precision(model, monkeypatch, name, precision, asked):
    monkeypatch.setattr(EngineSpec, "runs_here", True)
    monkeypatch.setattr(EngineSpec, "load", lambda kind: lambda model, keep_model: kind.name)
    monkeypatch.setattr(select, "_runnable", lambda name, on_fallback: ENGINES[name])
    monkeypatch.setattr(
        "janus_vit.model.engines.autotune.version", lambda package: "1"
    )  # zentorch may not be installed
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    measured = []
    monkeypatch.setattr(choice, "block_seconds", lambda model, kinds: measured.extend(kinds) or {kinds[-1].name: 1.0})
    assert make_engine(model, name) == asked[-1]
    assert [kind.name for kind in measured] == asked
    assert precision_of(name) == precision


def test_auto_falls_back_if_no_engine_of_the_precision_runs(model, monkeypatch):
    monkeypatch.setattr(ENGINES["int8"].load(), "unavailable_reason", classmethod(lambda cls: "no VNNI"))
    monkeypatch.setattr(ENGINES["zen-int8"].load(), "unavailable_reason", classmethod(lambda cls: "no AVX-512"))
    told = []
    make_engine(model, "auto-int8", on_fallback=told.append)
    assert told[0] == "engine 'int8' cannot run here (no VNNI): 'packed-bf16' runs instead"


def timed(monkeypatch, took_s):
    """Make runs take these times by the clock; return the function that runs one."""
    now_s = [0.0]
    monkeypatch.setattr("janus_vit.model.engines.block_variant.time.perf_counter", lambda: now_s[0])

    def run(way):
        now_s[0] += took_s[way].pop(0)

    return run


@pytest.mark.parametrize(
    ("first_s", "second_s", "third_s", "taken"),
    [
        ([0.9, 0.1, 0.1, 0.1], [0.9, 0.05, 0.05, 0.05], [0.1] * 4, 1),
        ([0.4, 0.1, 0.1, 0.1], [0.4, 0.096, 0.096, 0.096], [0.1] * 4, 0),  # no more than chance
        ([0.2, 0.1, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2], [0.15] * 4, 0),  # the least counts
        ([0.1] * 4, [0.05] * 4, [0.049] * 4, 1),  # chance again, between the others
        ([0.1] * 4, [0.09] * 4, [0.05] * 4, 2),
        ([9.0], [5.0], [4.9], 1),  # long runs, so one of each
        ([0.001] * 14, [0.001] * 14, [0.001] * 9 + [0.0001] * 5, 2),  # short runs, so more of them
    ],
)
def test_the_first_variant_that_none_clearly_beats_is_used(monkeypatch, first_s, second_s, third_s, taken):
    variants = (BlockVariant(print), BlockVariant(repr), BlockVariant(id))
    took_s = {variant: list(times_s) for variant, times_s in zip(variants, (first_s, second_s, third_s), strict=True)}
    monkeypatch.setattr(block_variant, "_LEAST_S", LEAST_S)
    run = timed(monkeypatch, took_s)
    key = object()
    assert [fastest_variant(key, variants, run) for _ in range(2)] == [variants[taken]] * 2


def test_a_single_variant_is_not_timed():
    single = BlockVariant(print)
    assert fastest_variant("none", (single,), lambda variant: pytest.fail("it was timed")) == single


def test_mkl_checks_private_operations_of_torch_before_use(monkeypatch):
    class Operations:
        """Operations of another torch, or of an MKL whose packed weights work for one number of rows only."""

        _mkl_reorder_linear_weight = staticmethod(lambda weight, rows: weight)

    ask = mkl._unavailable_reason.__wrapped__
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops, "mkl", Operations)
    assert "has other operations: " in ask()
    Operations._mkl_linear = lambda x, weight, shape, bias, rows: F.linear(x, weight, bias) * (rows < 300)
    assert "its results differ from plain ones by" in ask()
    Operations._mkl_linear = lambda x, weight, shape, bias, rows: F.linear(x, weight, bias)
    assert ask() is None
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert ask() == "torch is built without MKL"


def test_the_first_blocks_of_a_network_run_like_the_whole(model):
    short = replace(model, network=model.network.first_blocks(2))
    tokens = torch.randn(1, model.shape.tokens, model.shape.width)
    start = Activation(tokens, torch.ones(1, model.shape.tokens), 0, (2, 1), model.fingerprint)
    here, there = (make_engine(each, "eager").run(start, 2) for each in (short, model))
    assert torch.equal(here.tokens, there.tokens)
    assert short.shape.blocks == 2
    assert model.shape.blocks == 6


def test_a_model_without_its_weights_makes_no_second_engine():
    model = small_model()
    if make_engine(model, "packed", keep_model=False).name == "packed":
        with pytest.raises(InputError, match="are inside another engine: load the model again"):
            make_engine(model, "eager")
