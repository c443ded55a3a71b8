"""Checks of the GPU engines that need a GPU: what batches, kernels and graphs give, before anything is timed."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.gpu.arithmetic import Arithmetic, fastest_arithmetic, plain_arithmetic
from janus_vit.model.engines.gpu.engine import CudaEngine, CudaFloat32Engine
from janus_vit.planning.schedules import levels, make_schedule

Merges = tuple[int, ...]
_TOLERANCES = {"bfloat16": 5e-2, "float32": 1e-4}  # of the largest logit; rounding may merge other tokens
_KEPT_ALIKE = 0.75  # of the frames, whose answers must be within the tolerance; in the others other tokens merged
_REPEATS = 60
_OTHER_SHAPES = (64, 96, 160)  # rows that the other user of CUDA graphs records


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found.

    Attributes:
        name: what must hold.
        passed: whether it does.
        found: in a few words.
    """

    name: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Bench:
    """What is checked.

    Attributes:
        model: with random weights.
        device: "cuda", or "cpu" to try the script.
        repeats: runs of a check that looks for what happens rarely.
    """

    model: Model
    device: str
    repeats: int = _REPEATS

    def plans(self, count: int) -> list[Merges]:
        """As many plans, from no merging to the largest level, in turn."""
        found = levels("exponential", self.model.shape)
        picked = [found[0], found[len(found) // 3], found[2 * len(found) // 3], found[-1]]
        applied = [make_schedule("exponential", level, self.model.shape).applied for level in picked]
        return [applied[index % len(applied)] for index in range(count)]

    def pixels(self, count: int, seed: int = 1) -> Tensor:
        """Random frames [count, *input_shape]."""
        return torch.randn(count, *self.model.shape.input_shape, generator=torch.Generator().manual_seed(seed))

    def answers(self, engine: Engine, plans: Sequence[Merges], seed: int = 1) -> Tensor:
        """Logits [B, classes] of one ragged batch."""
        starts = engine.embed_batch(self.pixels(len(plans), seed), plans)
        return engine.head_batch(engine.run_batch(starts, self.model.shape.blocks))


def run_checks(bench: Bench) -> Iterator[Check]:
    """Every check, one after the other; a check that raises has failed."""
    engine = CudaEngine(bench.model, device=bench.device)
    checks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("all fast operations pass their trial", lambda: _trials(bench)),
        ("cuda-f32 answers as eager does", lambda: _like_eager(bench)),
        ("Triton and flash attention give what plain PyTorch gives", lambda: _like_plain(bench, engine)),
        ("a frame of a ragged batch is as alone", lambda: _like_alone(bench, engine)),
        ("a run that is cut equals the uncut run", lambda: _cut(bench, engine)),
        ("runs repeat themselves bit for bit, replayed or not", lambda: _repeats(bench, engine)),
        ("a poisoned frame changes no other", lambda: _poison(bench, engine)),
        ("beside torch.compile(mode='reduce-overhead')", lambda: _beside_other_graphs(bench, engine)),
        ("several threads at once", lambda: _threads(bench, engine)),
        ("a batch that does not fit into memory", lambda: _little_memory(bench, engine)),
    ]
    return (_result(name, check) for name, check in checks)


def _result(name: str, check: Callable[[], tuple[bool, str]]) -> Check:
    try:
        return Check(name, *check())
    except Exception as error:  # the next checks are still worth their time
        return Check(name, False, f"{type(error).__name__}: {str(error).splitlines()[0]}")


def _trials(bench: Bench) -> tuple[bool, str]:
    arch = bench.model.network.architecture
    found = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for dtype in (torch.bfloat16, torch.float32):
            chosen = _arithmetic(bench, dtype)
            names = type(chosen.operations).__name__, type(chosen.attention).__name__, chosen.linear.__name__
            found.append(f"{dtype}: {', '.join(names)}")
    lost = [str(each.message) for each in told]
    return not lost, "; ".join(lost or found) + f" at {arch.tokens} tokens"


def _arithmetic(bench: Bench, dtype: torch.dtype) -> Arithmetic:
    arch = bench.model.network.architecture
    if bench.device == "cpu":
        return plain_arithmetic(arch, dtype, dtype)
    return fastest_arithmetic(arch, dtype, dtype, torch.device(bench.device, torch.cuda.current_device()))


def _like_eager(bench: Bench) -> tuple[bool, str]:
    plans = bench.plans(4)
    return _close(
        bench.answers(CudaFloat32Engine(bench.model, device=bench.device), plans),
        bench.answers(EagerEngine(bench.model), plans),
        _TOLERANCES["float32"],
    )


def _like_plain(bench: Bench, engine: Engine) -> tuple[bool, str]:
    plain = plain_arithmetic(bench.model.network.architecture, torch.bfloat16, torch.bfloat16)
    wanted = bench.answers(CudaEngine(bench.model, device=bench.device, arithmetic=plain), bench.plans(8))
    return _close(bench.answers(engine, bench.plans(8)), wanted, _TOLERANCES["bfloat16"])


def _like_alone(bench: Bench, engine: Engine) -> tuple[bool, str]:
    plans, blocks = bench.plans(8), bench.model.shape.blocks
    parts = zip(torch.split(bench.pixels(8), 1), plans, strict=True)
    alone = torch.cat([engine.head(engine.run(engine.embed(part, plan), blocks)) for part, plan in parts])
    return _close(bench.answers(engine, plans), alone, _TOLERANCES["bfloat16"])


def _cut(bench: Bench, engine: Engine) -> tuple[bool, str]:
    plans, blocks = bench.plans(4), bench.model.shape.blocks
    start = engine.embed_batch(bench.pixels(4), plans)
    whole = engine.head_batch(engine.run_batch(start, blocks))
    cut = start
    for stop in (1, blocks // 3, blocks - 1, blocks):
        cut = engine.run_batch(cut, stop)
    return _close(engine.head_batch(cut), whole, _TOLERANCES["bfloat16"])


def _repeats(bench: Bench, engine: Engine) -> tuple[bool, str]:
    sizes = (1, 3, 8)
    first = {size: bench.answers(engine, bench.plans(size)) for size in sizes}
    runs = [(size, bench.answers(engine, bench.plans(size))) for _ in range(bench.repeats // 3) for size in sizes]
    same = sum(torch.equal(found, first[size]) for size, found in runs)
    return same == len(runs), f"{same} of {len(runs)} runs"


def _poison(bench: Bench, engine: Engine) -> tuple[bool, str]:
    plans, blocks = bench.plans(6), bench.model.shape.blocks
    frames = engine.run_batch(engine.embed_batch(bench.pixels(6), plans), 2)
    wanted = engine.head_batch(engine.run_batch(frames, blocks))
    others = [index for index in range(6) if index != 2]
    same = 0
    for value in (float("nan"), float("inf"), 3e38):
        frames[2] = replace(frames[2], tokens=torch.full_like(frames[2].tokens, value))
        found = engine.head_batch(engine.run_batch(frames, blocks))
        same += torch.equal(found[others], wanted[others]) and not bool(found[2].isfinite().all())
    return same == 3, f"{same} of 3 values"


def _beside_other_graphs(bench: Bench, engine: Engine) -> tuple[bool, str]:
    """Another user of CUDA graphs records anew and frees all that it can, between replays of ours."""
    other = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.GELU(), torch.nn.Linear(256, 256))
    other = other.to(bench.device).requires_grad_(False)
    compiled = torch.compile(other, mode="reduce-overhead", dynamic=False) if bench.device == "cuda" else other
    sizes, same, runs = (1, 2, 8), 0, 0
    wanted: dict[int, Tensor] = {}
    for repeat in range(bench.repeats):
        x = torch.randn(_OTHER_SHAPES[repeat % len(_OTHER_SHAPES)], 256, device=bench.device)
        with torch.inference_mode():
            torch.testing.assert_close(compiled(x), other(x), rtol=1e-2, atol=1e-2)
        if bench.device == "cuda" and repeat % 5 == 4:
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.empty_cache()
            torch.full((64 << 20,), float("nan"), device="cuda")  # what is freed is overwritten
        size = sizes[repeat % len(sizes)]
        found = bench.answers(engine, bench.plans(size))
        runs, same = runs + 1, same + torch.equal(found, wanted.setdefault(size, found))
    return same == runs, f"{same} of {runs} runs the same"


def _threads(bench: Bench, engine: Engine) -> tuple[bool, str]:
    wanted = {count: bench.answers(engine, bench.plans(count)) for count in (1, 2, 3, 4)}
    same: list[bool] = []

    def run(count: int) -> None:
        found = (bench.answers(engine, bench.plans(count)) for _ in range(bench.repeats // 6))
        same.extend(torch.equal(each, wanted[count]) for each in found)

    threads = [threading.Thread(target=run, args=(count,)) for count in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = len(threads) * (bench.repeats // 6)
    return sum(same) == expected, f"{sum(same)} of {expected} runs the same"


def _little_memory(bench: Bench, engine: Engine) -> tuple[bool, str]:
    """A batch with little memory left for it, then one with all memory again."""
    plans = bench.plans(64 if bench.device == "cuda" else 4)
    wanted = bench.answers(engine, plans)
    with _limited(bench.device):
        found = bench.answers(engine, plans)
    close, text = _close(found, wanted, _TOLERANCES["bfloat16"])
    again = torch.equal(bench.answers(engine, plans), wanted)
    return close and again, f"{text}; afterwards {'the same' if again else 'other'} answers"


@contextmanager
def _limited(device: str, spare_bytes: int = 96 << 20) -> Iterator[None]:
    """Leave this process so much memory of the GPU beyond what it uses."""
    if device != "cuda":
        yield
        return
    torch.cuda.empty_cache()
    _, total_bytes = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + spare_bytes) / total_bytes)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _close(found: Tensor, wanted: Tensor, tolerance: float) -> tuple[bool, str]:
    """Whether nearly all frames differ by little; where rounding merged other tokens, one may differ more."""
    differences = (found.cpu() - wanted.cpu()).abs().amax(dim=1) / wanted.abs().max().cpu()
    alike = float((differences < tolerance).float().mean())
    return alike >= _KEPT_ALIKE, f"{alike:.0%} of the frames within {tolerance:g}, median {differences.median():.1e}"
