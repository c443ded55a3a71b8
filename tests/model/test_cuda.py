"""The GPU's engines on a CPU where there is no GPU: the same blocks in plain PyTorch, and with Triton interpreted."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from conftest import MODEL_KINDS, small_model
from triton_interpreter import patched_once_a_launch

from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.gpu import arithmetic as arithmetics
from janus_vit.model.engines.gpu import ragged
from janus_vit.model.engines.gpu import runner as runners
from janus_vit.model.engines.gpu.arithmetic import Arithmetic, fastest_arithmetic, plain_arithmetic
from janus_vit.model.engines.gpu.attention import FrameByFrame, Padded
from janus_vit.model.engines.gpu.block import linear_then_activation
from janus_vit.model.engines.gpu.engine import CudaEngine, CudaFloat32Engine
from janus_vit.model.engines.gpu.graphs import OFTEN, Captures
from janus_vit.model.engines.gpu.layout import make_layout, round_up
from janus_vit.model.engines.gpu.shortage import in_halves
from janus_vit.model.engines.gpu.triton_operations import TritonOperations
from janus_vit.model.engines.registry import ENGINES
from janus_vit.planning.schedules import levels, make_schedule

DEVICE = "cuda" if ENGINES["cuda"].runs_here else "cpu"
CLASSES = {torch.float32: CudaFloat32Engine, torch.bfloat16: CudaEngine}
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 5e-2}  # of the largest logit

# Numpy, in which Triton's interpreter computes, warns of what rows that no frame has contain.
INTERPRETED = pytest.mark.filterwarnings("ignore:(invalid|overflow|divide):RuntimeWarning")


@pytest.fixture(autouse=True, scope="module")
def _quick_interpreter():
    with patched_once_a_launch():
        yield


def schedules(model):
    """No merging, the middle and the strongest level of the paper's schedule."""
    found = levels("exponential", model.shape)
    picked = (0.0, found[len(found) // 2], found[-1])
    return [make_schedule("exponential", level, model.shape).applied for level in picked]


def pixels(model, batch=3):
    return torch.randn(batch, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))


def answers(engine, model, plans):
    """Logits of frames, each with its own plan, in one ragged batch."""
    starts = engine.embed_batch(pixels(model, len(plans)), plans)
    return engine.head_batch(engine.run_batch(starts, model.shape.blocks))


def alone(engine, model, plans):
    """The same one by one."""
    parts = zip(torch.split(pixels(model, len(plans)), 1), plans, strict=True)
    return torch.cat([engine.head(engine.run(engine.embed(part, plan), model.shape.blocks)) for part, plan in parts])


def with_triton(model, dtype=torch.float32):
    """What a GPU computes, in Triton's interpreter and with padded frames."""
    arch = model.network.architecture
    operations = TritonOperations(arch.prefix, arch.tokens, dtype)
    return Arithmetic(dtype, dtype, operations, Padded(arch.width // arch.heads), linear_then_activation)


def difference(found, wanted):
    return float((found.cpu() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("dtype", CLASSES, ids=str)
def test_a_ragged_batch_is_as_eager_frame_by_frame(any_model, dtype):
    engine, plans = CLASSES[dtype](any_model, device=DEVICE), schedules(any_model)
    wanted = alone(EagerEngine(any_model), any_model, plans)
    assert difference(answers(engine, any_model, plans), wanted) < TOLERANCES[dtype]
    assert difference(alone(engine, any_model, plans), wanted) < TOLERANCES[dtype]


@INTERPRETED
@pytest.mark.parametrize("kind", ["distilled", "mean", "registers", "embed", "wide"])
def test_triton_and_padded_frames_give_the_same(kind):
    """Kinds that differ in their blocks or in what follows them; the stem is plain PyTorch, as without Triton."""
    size = {"image_size": 24, **({"image_width": 32} if kind == "wide" else {})}
    shallow = small_model(**{**MODEL_KINDS[kind], **size}, depth=3)
    engine = CudaFloat32Engine(shallow, device=DEVICE, arithmetic=with_triton(shallow))
    plans = schedules(shallow)
    wanted = alone(EagerEngine(shallow), shallow, plans)
    assert difference(answers(engine, shallow, plans), wanted) < TOLERANCES[torch.float32]


@INTERPRETED
@pytest.mark.parametrize("frame_by_frame", [False, True])
def test_triton_gives_the_same_for_frames_of_equal_length_and_frame_by_frame(frame_by_frame):
    model = small_model(depth=3, image_size=24)
    arithmetic, plans = with_triton(model), schedules(model)[1:2] * 2
    if frame_by_frame:
        arithmetic, plans = replace(arithmetic, attention=FrameByFrame()), schedules(model)
    engine = CudaFloat32Engine(model, device=DEVICE, arithmetic=arithmetic)
    wanted = alone(EagerEngine(model), model, plans)
    assert difference(answers(engine, model, plans), wanted) < TOLERANCES[torch.float32]


@pytest.mark.parametrize("dtype", CLASSES, ids=str)
def test_cut_equals_uncut_and_tokens_leave_in_float32(model, dtype):
    engine, plans = CLASSES[dtype](model, device=DEVICE), schedules(model)
    start = engine.embed_batch(pixels(model), plans)
    there = engine.run_batch(start, 3)
    for frame, plan in zip(there, plans, strict=True):
        assert frame.tokens.dtype == frame.sizes.dtype == torch.float32
        assert (frame.next_block, frame.merges) == (3, plan[3:])
        assert frame.tokens.shape == (1, model.shape.tokens - sum(plan[:3]), model.shape.width)
    uncut = engine.run_batch(start, 6)
    for cut, whole in zip(engine.run_batch(there, 6), uncut, strict=True):
        assert torch.equal(cut.tokens, whole.tokens)
        assert torch.equal(cut.sizes, whole.sizes)


def test_a_cut_at_the_present_block_changes_nothing(model):
    engine = CudaEngine(model, device=DEVICE)
    start = engine.run_batch(engine.embed_batch(pixels(model), schedules(model)), 2)
    for before, after in zip(start, engine.run_batch(start, 2), strict=True):
        assert torch.equal(before.tokens, after.tokens)
        assert (after.next_block, after.merges) == (2, before.merges)
    assert engine.run_batch([], 2) == []


def test_frames_from_the_cpu_and_of_the_engine_run_together(model):
    engine, plans = CudaFloat32Engine(model, device=DEVICE), schedules(model)
    frames = engine.run_batch(engine.embed_batch(pixels(model), plans), 2)
    eager = EagerEngine(model)
    frames[1] = eager.run(eager.embed(pixels(model)[1:2], plans[1]), 2)
    frames[2] = replace(frames[2], tokens=engine.upload(frames[2].tokens.cpu()), sizes=frames[2].sizes.cpu())
    found = engine.head_batch(engine.run_batch(frames, 6))
    assert difference(found, alone(eager, model, plans)) < TOLERANCES[torch.float32]


@INTERPRETED
@pytest.mark.parametrize(
    ("make", "poison"),  # with Triton, what each does to a kernel is in test_triton_merging
    [
        pytest.param(plain_arithmetic, float("nan"), id="plain-nan"),
        pytest.param(plain_arithmetic, float("inf"), id="plain-inf"),
        pytest.param(plain_arithmetic, 3e38, id="plain-3e38"),
        pytest.param(with_triton, 3e38, id="triton-3e38"),
    ],
)
def test_a_poisoned_frame_changes_no_other_in_its_batch(make, poison):
    model = small_model(depth=3, image_size=24)
    dtypes = (torch.float32, torch.float32) if make is plain_arithmetic else ()
    arithmetic = make(model.network.architecture, *dtypes) if dtypes else make(model)
    engine = CudaFloat32Engine(model, device=DEVICE, arithmetic=arithmetic)
    frames = engine.run_batch(engine.embed_batch(pixels(model), schedules(model)[::-1]), 1)
    wanted = engine.head_batch(engine.run_batch(frames, 3))
    frames[1] = replace(frames[1], tokens=torch.full_like(frames[1].tokens, poison))
    found = engine.head_batch(engine.run_batch(frames, 3))
    assert not found[1].isfinite().all()
    assert torch.equal(found[[0, 2]], wanted[[0, 2]])


def test_the_model_is_left_as_it_was_unless_given_away():
    kept, given = small_model(), small_model()
    plans = schedules(kept)
    wanted = answers(CudaEngine(kept, device=DEVICE), kept, plans)
    assert torch.equal(answers(CudaEngine(given, keep_model=False, device=DEVICE), given, plans), wanted)
    assert not any(parameter.is_meta for parameter in kept.network.parameters())
    assert kept.network.blocks[0].mlp.fc1.weight.device.type == "cpu"
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
    assert often < 5 or engine._runner.graphs == graphs


class Replayed:
    """A graph without a GPU: runs what was captured, as it was captured, on other inputs."""

    made: ClassVar[list] = []

    def __init__(self, run, inputs, memory):
        self.run, self.inputs = run, [tensor.clone() for tensor in inputs]
        self.made.append(self)

    def __call__(self, *inputs):
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        return tuple(output.clone() for output in self.run(*self.inputs))


@INTERPRETED
@pytest.mark.parametrize("changes", [{}, {"pooling": "mean", "prefix": 0}], ids=["class", "mean"])
def test_a_captured_run_serves_other_frames_of_the_same_size(monkeypatch, changes):
    """Frames that change places have other first rows, which a graph must not remember from its capture."""
    model = small_model(depth=2, image_size=24, **changes)
    engine = CudaFloat32Engine(model, device=DEVICE, arithmetic=with_triton(model))
    Replayed.made.clear()
    monkeypatch.setattr(runners, "Graph", Replayed)
    monkeypatch.setattr(runners, "graph_memory", lambda device: None)
    monkeypatch.setattr(engine._runner, "_can_capture", True)
    monkeypatch.setattr(engine._runner, "_is_full", lambda: False)
    plans = [(0, 0), (2, 1), (3, 1)]
    for _ in range(OFTEN):
        first = answers(engine, model, plans)
    assert len(Replayed.made) == engine._runner.graphs == 1
    for order in ((1, 2, 0), (2, 1, 0)):
        some = [plans[index] for index in order]
        wanted = alone(EagerEngine(model), model, some)
        assert difference(answers(engine, model, some), wanted) < TOLERANCES[torch.float32]
    assert torch.equal(answers(engine, model, plans), first)
    assert len(Replayed.made) == 1


def test_runs_of_several_blocks_are_captured_and_single_blocks_are_not(model, monkeypatch):
    """A device finishes a frame a block at a time when it is in a hurry: then is no time for captures."""
    engine = CudaEngine(model, device=DEVICE)
    Replayed.made.clear()
    monkeypatch.setattr(runners, "Graph", Replayed)
    monkeypatch.setattr(runners, "graph_memory", lambda device: None)
    monkeypatch.setattr(engine._runner, "_can_capture", True)
    monkeypatch.setattr(engine._runner, "_is_full", lambda: False)
    for _ in range(2 * OFTEN):
        state = engine.embed(pixels(model)[:1], (4, 3, 2, 1, 1, 0))
        for stop in range(1, 7):
            state = engine.run(state, stop)
    assert Replayed.made == []
    start = engine.embed(pixels(model)[:1], (4, 3, 2, 1, 1, 0))
    whole = [engine.run(start, 6).tokens for _ in range(OFTEN)]
    assert len(Replayed.made) == 1
    assert difference(whole[-1].cpu(), state.tokens.cpu()) < TOLERANCES[torch.bfloat16]


def test_a_batch_that_does_not_fit_runs_in_parts(model, monkeypatch):
    engine, plans = CudaEngine(model, device=DEVICE), schedules(model)
    starts = engine.embed_batch(pixels(model), plans)
    wanted = engine.head_batch(engine.run_batch(starts, 6))
    fits, tried = 1, []

    def run(tokens, *rest, whole=engine._runner.run):
        tried.append(len(tokens.counts))
        if len(tokens.counts) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(tokens, *rest)

    monkeypatch.setattr(engine._runner, "run", run)
    assert difference(engine.head_batch(engine.run_batch(starts, 6)), wanted.cpu()) < TOLERANCES[torch.bfloat16]
    assert tried == [3, 1, 2, 1, 1]
    fits = 0
    with pytest.raises(torch.OutOfMemoryError):
        engine.run_batch(starts, 6)
    fits = 3
    assert len(engine.run_batch(starts, 6)) == 3  # the engine lives


def test_only_a_shortage_of_memory_is_tried_again():
    freed = []

    def fail(items):
        raise RuntimeError("illegal memory access" if len(items) > 2 else "CUBLAS_STATUS_ALLOC_FAILED")

    with pytest.raises(RuntimeError, match="illegal"):
        in_halves(fail, [1, 2, 3], lambda: freed.append(True))
    assert not freed
    with pytest.raises(RuntimeError, match="ALLOC_FAILED"):
        in_halves(fail, [1, 2], lambda: freed.append(True))
    assert freed == [True]


@pytest.mark.parametrize("dtype", CLASSES, ids=str)
def test_what_fails_its_trial_is_replaced_and_told(model, monkeypatch, dtype):
    """Here, where there is no GPU, flash attention and a fused GELU are not what they are there."""
    arch = model.network.architecture

    class Wrong(Padded):
        def __call__(self, *arguments):
            return super().__call__(*arguments) + 1

    candidates = {
        "padding": lambda base: replace(base, attention=Padded(8)),
        "flash": lambda base: replace(base, attention=Wrong(8)),
        "Triton": lambda base: replace(base, operations=with_triton(model, dtype).operations),
        "gelu": lambda base: replace(base, linear=None),
    }
    monkeypatch.setattr(arithmetics, "_candidates", lambda arch, dtype: candidates)
    with pytest.warns(RuntimeWarning) as told:
        chosen = fastest_arithmetic(arch, dtype, dtype, torch.device(DEVICE))
    assert [text.split(":")[0] for text in (str(warning.message) for warning in told) if "GPU" in text] == [
        "flash cannot be used on this GPU, so that it is slower",
        "gelu cannot be used on this GPU, so that it is slower",
    ]
    assert type(chosen.attention) is Padded
    assert isinstance(chosen.operations, TritonOperations)
    assert chosen.linear is linear_then_activation


@pytest.mark.parametrize("dtype", CLASSES, ids=str)
def test_gelu_within_a_product_is_gelu_as_bfloat16_has_it(dtype):
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    weight, bias = torch.eye(32, dtype=dtype), torch.zeros(32, dtype=dtype)
    for activation in ("gelu", "gelu_tanh", "silu", None):
        wanted = linear_then_activation(x, weight, bias, activation)
        found = arithmetics.linear_with_gelu(x, weight, bias, activation)
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-3)


def test_without_a_gpu_the_benchmark_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    with pytest.raises(SystemExit) as ended:
        import_module("gpu").main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("there is no GPU to measure: torch finds no CUDA device")


def layout_of(model, counts, plans, first=0, stop=6, rounded=True, masked=False):
    return make_layout(model.network.architecture, counts, plans, first, stop, rounded, masked)


def test_a_layout_follows_the_tokens_of_each_frame(model):
    plans = [(0,) * 6, (4, 3, 2, 1, 1, 0), (8, 0, 0, 0, 0, 0)]
    layout = layout_of(model, (17, 17, 17), plans, rounded=False)
    found = layout.counts.tolist()
    assert found == [[17] * 3, [17, 13, 9], [17, 10, 9], [17, 8, 9], [17, 7, 9], [17, 6, 9], [1, 1, 1]]
    assert [rows.merging for rows in layout.blocks] == [True] * 5 + [False]
    assert [rows.proportional for rows in layout.blocks] == [False] + [True] * 5
    assert layout.blocks[-1].head_tokens == 1
    assert layout.table()[1, :4].tolist() == [0, 17, 30, 39]


def test_batches_of_similar_size_share_a_layout(model):
    """Beside three frames a fourth without tokens; the numbers of rows are rounded up."""
    plans = [[(8, 0, 0, 0, 0, 0), (number, 0, 0, 0, 0, 0), (8, 0, 0, 0, 0, 0)] for number in (7, 8)]
    first, second = (layout_of(model, (17, 17, 17), plan) for plan in plans)
    assert first.blocks == second.blocks
    assert first.frames == second.frames == 4
    assert first.counts[0].tolist() == [17, 17, 17, 0]


def test_rounding_up_adds_little_and_gives_few_numbers():
    for rows in range(1, 40_000):
        assert rows <= round_up(rows) <= max(rows * 9 / 8, rows + 7)
        assert round_up(rows) - rows < 128
    assert len({round_up(rows) for rows in range(1, 8192)}) < 100


def test_in_a_padded_batch_poison_behind_a_frame_does_not_reach_it():
    """Padding of a frame would be its neighbour's rows, were they not cleared."""
    counts = (3, 5)
    query, key, value = torch.randn(3, 8, 2, 8, generator=torch.Generator().manual_seed(0))
    parts = ragged.with_size_channels(query, key, value, torch.ones(8))
    arch = small_model(pooling="mean").network.architecture
    step = make_layout(arch, counts, [(0,), (0,)], 0, 1, False, True)
    step = step.steps(step.table())[0]
    wanted = FrameByFrame()(*parts, step)
    torch.testing.assert_close(Padded(8)(*parts, step), wanted)
    for part in parts[1:]:
        part[3:] = float("nan")
    found = Padded(8)(*parts, step)
    torch.testing.assert_close(found[:3], wanted[:3])
    assert found[3:].isnan().any()


def captures(limit=2, often=2):
    """Captures, and a way to ask for one by name; what is captured is its name."""
    kept = Captures(limit, often)
    return kept, lambda key, full=False: kept.get(key, lambda: key, lambda: full)


def test_what_comes_often_is_captured_once():
    kept, ask = captures()
    assert [ask(key) for key in "aabba"] == [None, "a", None, "b", "a"]
    assert len(kept) == 2


def test_when_there_are_too_many_all_are_dropped_at_once():
    kept, ask = captures()
    for key in "aabbc":
        ask(key)
    assert ask("c") is None
    assert len(kept) == 0
    assert [ask(key) for key in "aabb"] == [None, "a", None, "b"]


def test_where_memory_is_short_all_are_dropped_before_another_is_captured():
    kept, ask = captures()
    assert [ask("a", full=True) for _ in range(2)] == [None, "a"]  # there is none to drop
    assert [ask("b", full=True) for _ in range(2)] == [None, None]
    assert len(kept) == 0


def test_what_cannot_be_captured_is_not_tried_again_and_all_others_are_dropped():
    kept, ask = captures()
    ask("b")
    assert ask("b") == "b"
    tried = []

    def fail():
        tried.append("a")
        raise RuntimeError("out of memory")

    with pytest.warns(RuntimeWarning, match="some blocks run without a CUDA graph: out of memory"):
        assert [kept.get("a", fail, lambda: False) for _ in range(5)] == [None] * 5
    assert tried == ["a"]
    assert [ask("b"), ask("b")] == [None, "b"]  # captured anew


def test_what_seldom_comes_does_not_pile_up():
    kept, ask = captures(often=3)
    for key in range(10_000):
        ask(key)
    assert len(kept._asked) < 1_000
