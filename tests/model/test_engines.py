"""Every CPU engine that runs here gives the answers of plain PyTorch: split anywhere, alone or in a batch."""

import ctypes
import sys
from dataclasses import replace
from functools import cache

import pytest
import torch
from conftest import MODEL_KINDS, small_model
from torch.nn import functional as F

from janus_vit.model.catalog import load_model
from janus_vit.model.engines import packed
from janus_vit.model.engines.block_variant import BlockVariant
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.packed import PackedEngine
from janus_vit.model.engines.packed_attention import attend, attend_plainly
from janus_vit.model.engines.packed_block import aligned, padded
from janus_vit.model.engines.registry import ENGINES
from janus_vit.model.layers import AFTER_LINEAR, size_bias
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.planning.splits import candidate_splits
from janus_vit.sources.builtin import builtin_frames

# Largest difference of a logit from eager, as a share of the largest logit, by what an engine computes in.
TOLERANCES = {"float32": 1e-5, "bfloat16": 5e-2, "int8": 1e-1}  # rounding may merge another pair
LOST = {"float32": 0.003, "bfloat16": 0.003, "int8": 0.005}  # of the built-in frames' answers, likewise
VARIANTS = {
    "class": {},
    "tanh": {"activation": "gelu_tanh", "pooling": "attention", "prefix": 0, "classes": 0},
    "quick": {"activation": "quick_gelu", "stem_norm": True, "norm_eps": 1e-5, "prefix": 2, "distilled": True},
    "gated": {"activation": "swiglu", "layer_scale": True, "prefix": 4},
    "long": {"image_size": 125, "depth": 3},  # 226 tokens, and five pixels of each side that are in no patch
    "clip": {"frames": 4, "tubelet": 2, "pooling": "mean", "prefix": 0, "pooled_norm": True, "patch_size": 16},
}
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
RUNNABLE = [kind for kind in ENGINES.values() if kind.runs_here]


def _pairs():
    """Each engine with each model, computing in one of its block variants, whichever is faster here.

    Engines with several variants run each of them, and each variant runs each model in one of these engines.
    """
    several = 0
    for kind in RUNNABLE:
        count = len(getattr(kind.load(), "variants", [None]))
        several += count > 1
        for place, name in enumerate(VARIANTS):
            variant = (several + place) % count
            yield pytest.param((kind, variant, name), id=f"{kind.name}-{variant}-{name}")


@pytest.fixture(params=RUNNABLE, ids=lambda kind: kind.name, scope="module")
def kind(request):
    return request.param


@pytest.fixture(params=_pairs(), scope="module")
def pair(request):
    """A model with random weights, and the engine that runs it."""
    kind, variant, name = request.param
    model = small_model(**VARIANTS[name])
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(kind.load(), "variants"):
            patch.setattr(kind.load(), "variants", (kind.load().variants[variant],))
        return model, make_engine(model, kind.name)


def schedules(shape):
    """No merging, the middle and the strongest level of the paper's schedule."""
    found = levels("exponential", shape)
    return [make_schedule("exponential", level, shape).applied for level in (0.0, found[len(found) // 2], found[-1])]


def pixels(model, batch=1):
    return torch.randn(batch, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))


def run(engine, model, inputs, merges):
    return engine.head(engine.run(engine.embed(inputs, merges), model.shape.blocks))


class MallocInfo(ctypes.Structure):
    """The result of glibc's mallinfo2, <malloc.h>."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("_0", "_1", "_2", "_3", "_4", "_5", "_6", "uordblks", "_8", "_9")]


def bytes_in_use():
    """Return the bytes that malloc has allocated; without mallinfo2, those of Python objects."""
    if not hasattr(LIBC, "mallinfo2"):
        return sys.getallocatedblocks()
    LIBC.mallinfo2.restype = MallocInfo
    return LIBC.mallinfo2().uordblks


def difference(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_an_engine_has_the_name_and_precision_of_its_spec(kind, model):
    engine = make_engine(model, kind.name)
    assert (engine.name, engine.precision) == (kind.name, kind.precision)


def test_a_split_run_equals_an_unsplit_run_bit_for_bit(pair):
    """Each split begins where the one before ended, so that the last run was cut at all of them."""
    model, engine = pair
    shape = model.shape
    for merges in schedules(shape):
        there = engine.embed(pixels(model), merges)
        whole = engine.head(engine.run(there, shape.blocks))
        for split in candidate_splits(shape.blocks)[1:-1]:
            there = engine.run(there, split)
            assert there.tokens.dtype == there.sizes.dtype == torch.float32
            assert (there.next_block, there.merges) == (split, merges[split:])
            assert torch.equal(engine.head(engine.run(there, shape.blocks)), whole)


def test_a_batch_equals_each_input_alone(pair):
    model, engine = pair
    inputs = pixels(model, batch=2)
    for merges in schedules(model.shape):
        together = run(engine, model, inputs, merges)
        alone = torch.cat([run(engine, model, one[None], merges) for one in inputs])
        assert difference(together, alone) < TOLERANCES[engine.precision]


def test_answers_equal_those_of_eager(pair):
    model, engine = pair
    inputs = pixels(model, batch=2)
    for merges in schedules(model.shape):
        wanted = run(EagerEngine(model), model, inputs, merges)
        assert difference(run(engine, model, inputs, merges), wanted) < TOLERANCES[engine.precision]


def test_an_engine_can_finish_the_run_of_another(kind, model):
    merges = schedules(model.shape)[1]
    ours, plain = make_engine(model, kind.name), EagerEngine(model)
    begun = plain.run(plain.embed(pixels(model), merges), 3)
    wanted = run(plain, model, pixels(model), merges)
    assert difference(ours.head(ours.run(begun, 6)), wanted) < TOLERANCES[ours.precision]


def test_a_stream_of_frames_leaks_no_memory(kind):
    """A leak of a hundred bytes in each operation, as in one library, is gigabytes a day."""
    model, runs = small_model(depth=2), 100
    engine, inputs, merges = make_engine(model, kind.name), pixels(model), schedules(model.shape)[1]

    def some():
        for _ in range(runs):
            run(engine, model, inputs, merges)

    some()
    before_bytes = bytes_in_use()
    some()
    assert bytes_in_use() - before_bytes < 300 * runs  # what Python itself holds comes and goes


def test_tokens_merge_as_planned(pair):
    model, engine = pair
    shape = model.shape
    merges = schedules(shape)[-1]
    activation = engine.embed(pixels(model, batch=2), merges)
    for split in range(shape.blocks + (shape.head_tokens is None)):
        activation = engine.run(activation, split)
        assert activation.sizes.sum(dim=1).tolist() == [shape.tokens] * 2
        assert activation.tokens.shape[1] == shape.tokens - sum(merges[:split])
    last = engine.run(activation, shape.blocks)
    assert last.tokens.shape[1] == last.sizes.shape[1] == (shape.head_tokens or shape.tokens - sum(merges))


@pytest.mark.parametrize(
    ("queries", "tokens"),
    [(1, 1), (55, 55), (56, 56), (219, 219), (220, 220), (700, 700), (704, 697), (224, 220), (1, 700), (2, 56)],
)
@pytest.mark.parametrize("merged", [False, True])
def test_attention_equals_that_of_torch(queries, tokens, merged):
    if ENGINES["packed"] not in RUNNABLE:
        assert ENGINES["packed"].load().unavailable_reason()
        return
    generator = torch.Generator().manual_seed(tokens)
    query = torch.randn(2, 3, queries, 8, generator=generator)
    key, value = torch.randn(2, 2, 3, tokens, 8, generator=generator)
    sizes = torch.randint(1, 5, (2, tokens), generator=generator).float() if merged else None
    bias = size_bias(sizes, torch.float32, queries)
    wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
    for dtype in (torch.float32, torch.bfloat16):
        found = attend(query.to(dtype), key.to(dtype), value.to(dtype), sizes)
        assert difference(found.float(), wanted.transpose(1, 2).flatten(2)) < TOLERANCES[str(dtype).split(".")[1]]


@pytest.fixture(scope="module")
def count_right():
    """Return a function that counts an engine's right answers to 200 built-in frames, half of them merged."""
    model = load_model()
    frames, labels = builtin_frames()
    inputs = torch.cat([model.preprocessing.normalise(model.preprocessing.crop(frame)) for frame in frames[:200]])
    truths = torch.tensor(labels[:200]).split(50)
    plans = [make_schedule("exponential", level, model.shape).applied for level in (0.0, 0.2, 0.0, 0.2)]

    @cache
    def count(name):
        engine = make_engine(model, name)
        parts = zip(inputs.split(50), plans, truths, strict=True)
        return sum(
            int((run(engine, model, part, merges).argmax(dim=1) == truth).sum()) for part, merges, truth in parts
        )

    return count


def test_built_in_model_is_right_as_often_as_with_eager(kind, count_right):
    right, eager_right = count_right(kind.name), count_right("eager")
    assert eager_right > 150
    assert abs(right - eager_right) <= LOST[kind.precision] * 200


@pytest.mark.parametrize("name", [kind.name for kind in RUNNABLE if kind.name != "eager"])
def test_without_keeping_the_model_answers_are_equal_and_only_the_engine_holds_weights(name):
    whole, given = small_model(), small_model()
    kept, alone = make_engine(whole, name), make_engine(given, name, keep_model=False)
    merges = schedules(whole.shape)[1]
    assert torch.equal(run(kept, whole, pixels(whole), merges), run(alone, given, pixels(given), merges))
    assert given.fingerprint == whole.fingerprint
    assert not whole.network.blocks[0].attn.qkv.weight.is_meta
    assert all(block.mlp.fc1.weight.is_meta for block in given.network.blocks)


@pytest.mark.parametrize("kind", [kind for kind in RUNNABLE if len(getattr(kind.load(), "variants", [])) > 1])
def test_all_blocks_use_the_variant_that_is_found_once_for_their_shape(kind, monkeypatch):
    asked = []
    monkeypatch.setattr(
        packed, "fastest_variant", lambda key, variants, run: asked.append(key) or run(variants[0]) or variants[-1]
    )
    whole = small_model(**VARIANTS["quick"])
    short = replace(whole, network=whole.network.first_blocks(2))
    for model in (whole, short):
        assert {block.variant for block in make_engine(model, kind.name)._blocks} == {kind.load().variants[-1]}
    assert len(set(asked)) == 1


def test_the_last_block_computes_only_what_the_head_reads():
    rows = []
    model = small_model(**VARIANTS["quick"])
    engine = watched(model, rows)
    engine.run(engine.embed(pixels(model), (0,) * model.shape.blocks), model.shape.blocks)
    assert rows[-4:] == [model.shape.tokens, 2, 2, 2]  # qkv, projection, MLP
    assert rows[-8:-4] == [model.shape.tokens] * 4


@pytest.mark.parametrize("lengthen", [aligned, padded])
def test_padding_is_zeros_and_at_most_a_sixteenth(lengthen):
    for count in range(1, 1200):
        values = torch.ones(1, count, 2)
        longer = lengthen(values)
        assert torch.equal(longer[:, :count], values)
        assert not longer[:, count:].any()
        assert count <= longer.shape[1] <= count * 17 / 16


def test_many_unmerged_tokens_become_a_multiple_of_eight():
    lengths = {count: aligned(torch.ones(1, count, 2)).shape[1] for count in (50, 65, 127, 128, 197, 577, 1025, 1370)}
    assert lengths == {50: 50, 65: 68, 127: 128, 128: 128, 197: 200, 577: 584, 1025: 1032, 1370: 1376}


def test_over_all_levels_products_see_few_numbers_of_tokens():
    met = []
    model = small_model(**VARIANTS["long"], pooling="mean")
    engine = watched(model, met)
    options = [make_schedule("exponential", level, model.shape).applied for level in levels("exponential", model.shape)]
    exact = {model.shape.tokens - sum(merges[:split]) for merges in options for split in range(model.shape.blocks + 1)}
    for merges in options:
        engine.run(engine.embed(pixels(model), merges), model.shape.blocks)
    lengthen = {model.shape.tokens: aligned}
    assert set(met) == {lengthen.get(count, padded)(torch.zeros(1, count)).shape[1] for count in exact}
    assert len(set(met)) < len(exact) / 3


def watched(model, met):
    """Make an engine with plain linear layers that record how many tokens they get."""

    class Watched(PackedEngine):
        linear = Linear
        variants = (BlockVariant(attend_plainly, align=True, few_shapes=True),)

        def pack(self, weight, bias, activation=None):
            return Watching(Linear(weight, bias, activation), met)

    return Watched(model)


class Linear:
    """A plain linear layer, on any CPU."""

    def __init__(self, weight, bias, activation=None, dtype=torch.float32):
        self.weight, self.bias, self.after = weight, bias, AFTER_LINEAR[activation]

    def __call__(self, x):
        return self.after(F.linear(x, self.weight, self.bias))

    def plus(self, x, residual):
        return residual + self(x)


class Watching:
    """A linear layer that records how many tokens it gets."""

    def __init__(self, linear, met):
        self.linear, self.met = linear, met

    def __call__(self, x):
        self.met.append(x.shape[1])
        return self.linear(x)

    def plus(self, x, residual):
        self.met.append(x.shape[1])
        return self.linear.plus(x, residual)


def batch_of(engine, model, depth):
    """Frames at block `depth`, each with other merges, so with other numbers of tokens; the last repeats the first."""
    plans = [*schedules(model.shape), schedules(model.shape)[0]]
    starts = engine.embed_batch(pixels(model, batch=len(plans)), plans)
    return engine.run_batch(starts, depth), plans


def test_frames_of_a_ragged_batch_equal_each_frame_alone_bit_for_bit(kind, any_model, request):
    """The batch begins at another block for each model and engine: both meet all three."""
    places = list(MODEL_KINDS).index(request.node.callspec.params["any_model"]) + RUNNABLE.index(kind)
    depth = (0, 3, 5)[places % 3]
    engine, blocks = make_engine(any_model, kind.name), any_model.shape.blocks
    frames, plans = batch_of(engine, any_model, depth)
    together = engine.run_batch(frames, blocks)
    logits = engine.head_batch(together)
    for index, (frame, plan) in enumerate(zip(frames, plans, strict=True)):
        start = engine.embed(pixels(any_model, batch=len(plans))[index, None], plan)
        there = engine.run(start, depth)
        alone = engine.run(there, blocks)
        assert torch.equal(frame.tokens, there.tokens)
        assert torch.equal(together[index].tokens, alone.tokens)
        assert torch.equal(together[index].sizes, alone.sizes)
        assert (together[index].next_block, together[index].merges) == (alone.next_block, alone.merges)
        assert torch.equal(logits[index, None], engine.head(alone))


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 3e38])
def test_a_poisoned_frame_changes_no_other_in_its_batch(kind, model, poison):
    engine, blocks = make_engine(model, kind.name), model.shape.blocks
    frames, _ = batch_of(engine, model, 2)
    wanted = engine.head_batch(engine.run_batch(frames, blocks))
    frames[1] = replace(frames[1], tokens=torch.full_like(frames[1].tokens, poison))
    found = engine.head_batch(engine.run_batch(frames, blocks))
    assert not found[1].isfinite().all()
    assert torch.equal(found[[0, 2, 3]], wanted[[0, 2, 3]])


def test_an_empty_batch_gives_an_empty_batch(kind, model):
    assert make_engine(model, kind.name).run_batch([], 3) == []
