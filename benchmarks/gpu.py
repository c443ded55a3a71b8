"""What a GPU does: checks first, then throughput, merging, batches of different frames, and serving.

    python benchmarks/gpu.py [--models vit-base-224,vit-large-384] [--quick] [--no-serving]
    python benchmarks/gpu.py --cpu-dry-run | --cpu-accuracy

Takes less than five minutes on an H100. Without a GPU it says so and ends with status 2; --cpu-dry-run walks through
the whole script with a tiny model on the CPU, so that it is known to run, and measures nothing of interest.
--cpu-accuracy prints the first table alone, computed on the CPU in the types of the GPU.

Times are the least of several calls that end when the GPU is done, from pixels on the GPU to logits on the CPU, or of
the blocks alone. The limit is a product of bfloat16 matrices of 8,192 rows, measured in the same run, divided by the
operations of a frame. The peer is transformers in bfloat16 with scaled dot product attention.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import asdict, dataclass, replace

import torch
from _common import print_json, timed_ms
from _engine_plans import operations
from _gpu_accuracy import accuracy_rows
from _gpu_checks import Bench, run_checks
from _gpu_models import TINY, make_model
from _gpu_peers import product_tflops, transformers_bfloat16
from _gpu_serving import served
from torch import Tensor

from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.gpu.engine import CudaEngine
from janus_vit.model.stage import Activation
from janus_vit.planning.schedules import levels, make_schedule

Merges = tuple[int, ...]
FRAMES = 1_000  # built-in frames of the table of accuracy
MODELS = ("vit-base-224", "vit-large-384")
BARS = {
    "vit-large-384: batch 32 of the limit": 0.60,
    "vit-base-224: batch 64 by transformers": 1.0,
    "largest level by unmerged, batch 32": 2.5,
    "slowest level by unmerged, batch 8 or more": 1.0,
    "served with 16 devices by engine": 0.70,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What is run.

    Attributes:
        device: "cuda", or "cpu" to try the script.
        models: names.
        batches: of the engine alone.
        level_batches: of each level.
        rounds: of a measurement.
        devices: of the served cloud.
        serve_s: seconds of each served load; 0 to serve nothing.
    """

    device: str
    models: tuple[str, ...]
    batches: tuple[int, ...] = (1, 4, 8, 16, 32, 64)
    level_batches: tuple[int, ...] = (1, 8, 32, 64)
    rounds: int = 7
    devices: tuple[int, ...] = (1, 4, 16)
    serve_s: float = 4.0


class Report:
    """Prints tables and keeps their rows for the JSON line."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, object]]] = {}
        self.bars: dict[str, list[float]] = {}

    def add(self, table: str, **row: object) -> None:
        """Print a row, below its head if it is the first of a table."""
        if table not in self.rows:
            print(f"\n{table}\n" + "".join(f"{name:>16}" for name in row))
        print("".join(f"{_cell(value):>16}" for value in row.values()), flush=True)
        self.rows.setdefault(table, []).append(row)

    def bar(self, name: str, value: float) -> None:
        """Keep a figure that a bar is for; the least one counts."""
        self.bars.setdefault(name, []).append(value)

    def print_bars(self) -> None:
        """Say which bars are met."""
        print("\nbars")
        for name, least in BARS.items():
            found = self.bars.get(name)
            verdict = "not measured" if not found else "met" if min(found) >= least else "NOT met"
            print(f"  {name}: {_cell(min(found) if found else None)}, at least {least}: {verdict}")


def main() -> None:
    """Check, measure, and print tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help=f"of {', '.join(MODELS)}")
    parser.add_argument("--quick", action="store_true", help="the first model and three rounds")
    parser.add_argument("--no-serving", action="store_true", help="leave out the served cloud")
    parser.add_argument("--cpu-dry-run", action="store_true", help="try the script with a tiny model on the CPU")
    parser.add_argument("--cpu-accuracy", action="store_true", help="the table of accuracy alone, on the CPU")
    options = parser.parse_args()
    if options.cpu_accuracy:
        report = Report()
        accuracy_table("cpu", FRAMES, report)
        print_json("gpu", 0, {**report.rows})
        return
    if options.cpu_dry_run:
        torch.set_num_threads(1)
        setting = Setting("cpu", (TINY,), (1, 2), (1, 2), 1, (1, 2), 0.5)
    elif (reason := CudaEngine.unavailable_reason()) is not None:
        print(f"there is no GPU to measure: {reason}; --cpu-dry-run tries the script without one", file=sys.stderr)
        raise SystemExit(2)
    else:
        names = tuple(options.models.split(","))
        setting = Setting("cuda", names[:1] if options.quick else names, rounds=3 if options.quick else 7)
    if options.no_serving:
        setting = replace(setting, serve_s=0.0)
    began_s, report = time.perf_counter(), Report()
    failed = not check(setting, report)
    accuracy_table(setting.device, FRAMES if setting.device == "cuda" else 100, report)
    limit = product_tflops(setting.device, setting.rounds)
    print(f"\nlimit: bfloat16 products at {limit:.1f} TFLOP/s")
    for name in setting.models:
        measure(name, setting, limit, report)
    report.print_bars()
    print(f"took {time.perf_counter() - began_s:.0f} s")
    print_json("gpu", 1, {"setting": asdict(setting), "limit_tflops": round(limit, 1), **report.rows})
    if failed:
        raise SystemExit("a check failed: see the first table")


def check(setting: Setting, report: Report) -> bool:
    """Run all checks on the first model; whether all passed."""
    repeats = 60 if setting.device == "cuda" else 6
    checks = []
    for each in run_checks(Bench(make_model(setting.models[0]), setting.device, repeats)):
        print(f"{'ok    ' if each.passed else 'FAILED'}  {each.name}: {each.found}", flush=True)
        checks.append(each)
    report.rows["checks"] = [asdict(each) for each in checks]
    return all(each.passed for each in checks)


def accuracy_table(device: str, frames: int, report: Report) -> None:
    """What the precision costs."""
    for row in accuracy_rows(device, frames):
        report.add("janus-digits: accuracy", **row)


def measure(name: str, setting: Setting, limit: float, report: Report) -> None:
    """All tables of a model."""
    model = make_model(name)
    engine = CudaEngine(model, device=setting.device)
    whole = replace(model.shape, head_tokens=None)  # every block with all tokens, as the peer computes
    limit_per_s = 1e12 * limit / operations(whole, (0,) * model.shape.blocks)
    rates = engine_table(name, model, engine, setting, limit_per_s, report)
    levels_table(name, model, engine, setting, report)
    ragged_table(name, model, engine, setting, report)
    peer_table(name, model, setting, rates, report)
    del engine
    if setting.serve_s:
        served_table(name, setting, rates, report)


def engine_table(
    name: str, model: Model, engine: Engine, setting: Setting, limit_per_s: float, report: Report
) -> dict[int, float]:
    """Unmerged batches; frames a second of each size."""
    rates = {}
    for batch in setting.batches:
        plans = [(0,) * model.shape.blocks] * batch
        ms, blocks_ms = whole_and_blocks_ms(model, engine, plans, setting.rounds)
        rates[batch] = 1e3 * batch / ms
        of_limit = rates[batch] / limit_per_s
        row = {"batch": batch, "ms": ms, "blocks ms": blocks_ms, "frames/s": rates[batch]}
        report.add(f"{name}: engine", **row, **{"limit frames/s": limit_per_s, "of limit": of_limit})
        if (name, batch) == ("vit-large-384", 32):
            report.bar("vit-large-384: batch 32 of the limit", of_limit)
    return rates


def levels_table(name: str, model: Model, engine: Engine, setting: Setting, report: Report) -> None:
    """Merging at four levels, beside not merging."""
    for batch in setting.level_batches:
        unmerged_ms = 0.0
        for share, merges in levels_of(model).items():
            ms, blocks_ms = whole_and_blocks_ms(model, engine, [merges] * batch, setting.rounds)
            unmerged_ms = unmerged_ms or ms
            kept = operations(model.shape, merges) / operations(model.shape, (0,) * model.shape.blocks)
            row = {"batch": batch, "level": share, "operations": kept, "ms": ms, "blocks ms": blocks_ms}
            report.add(f"{name}: merging", **row, **{"by unmerged": unmerged_ms / ms, "limit": 1 / kept})
            if batch >= 8 and any(merges):
                report.bar("slowest level by unmerged, batch 8 or more", unmerged_ms / ms)
            if batch == 32 and share == "largest":
                report.bar("largest level by unmerged, batch 32", unmerged_ms / ms)


def ragged_table(name: str, model: Model, engine: Engine, setting: Setting, report: Report) -> None:
    """Frames of all levels in one batch, beside batches of each level and beside frames one by one."""
    plans = list(levels_of(model).values())
    for batch in setting.level_batches[1:]:
        each = max(1, batch // len(plans))
        mixed = whole_and_blocks_ms(model, engine, [plan for plan in plans for _ in range(each)], setting.rounds)[0]
        apart = sum(whole_and_blocks_ms(model, engine, [plan] * each, setting.rounds)[0] for plan in plans)
        alone = each * sum(whole_and_blocks_ms(model, engine, [plan], setting.rounds)[0] for plan in plans)
        row = {"frames": each * len(plans), "together ms": mixed, "by level ms": apart, "one by one ms": alone}
        report.add(f"{name}: frames of all levels", **row)


def peer_table(name: str, model: Model, setting: Setting, rates: dict[int, float], report: Report) -> None:
    """Transformers, unmerged, and ours beside it."""
    peer = transformers_bfloat16(model, setting.device)
    for batch in setting.batches[-2:]:
        pixels = random_pixels(model, batch).to(setting.device)
        ms = min(timed_ms(lambda: peer(pixels), setting.rounds, 2))  # noqa: B023
        ours = rates[batch] * ms / 1e3 / batch
        row = {"batch": batch, "ms": ms, "frames/s": 1e3 * batch / ms, "ours by peer": ours}
        report.add(f"{name}: transformers bfloat16", **row)
        if (name, batch) == ("vit-base-224", 64):
            report.bar("vit-base-224: batch 64 by transformers", ours)


def served_table(name: str, setting: Setting, rates: dict[int, float], report: Report) -> None:
    """A cloud that serves devices, beside the engine alone in batches of as many frames as there are devices."""
    if setting.device == "cuda":
        torch.cuda.empty_cache()
    ingest = max(1, min(8, (os.cpu_count() or 2) - 4))
    for each in served(name, setting.device, ingest, list(setting.devices), setting.serve_s):
        alone = rates[max(batch for batch in rates if batch <= each.devices)]
        share = each.frames_per_s / alone
        report.add(f"{name}: served", **asdict(each), **{"engine frames/s": alone, "of engine": share})
        if each.devices == 16:
            report.bar("served with 16 devices by engine", share)


def whole_and_blocks_ms(model: Model, engine: Engine, plans: list[Merges], rounds: int) -> tuple[float, float]:
    """Least time of a batch from pixels to logits, and of its blocks alone."""
    pixels, blocks = engine.upload(random_pixels(model, len(plans))), model.shape.blocks
    starts = engine.embed_batch(pixels, plans)

    def whole() -> Tensor:
        return engine.head_batch(engine.run_batch(engine.embed_batch(pixels, plans), blocks))

    def inner() -> list[Activation]:
        return engine.run_batch(starts, blocks)

    return min(timed_ms(whole, rounds, 4)), min(timed_ms(inner, rounds, 1))  # the first runs compile and capture


def levels_of(model: Model) -> dict[str, Merges]:
    """Merges at the levels that the tables show."""
    found = levels("exponential", model.shape)
    picked = {"none": found[0], "1/3": found[len(found) // 3], "2/3": found[2 * len(found) // 3], "largest": found[-1]}
    return {share: make_schedule("exponential", level, model.shape).applied for share, level in picked.items()}


def random_pixels(model: Model, batch: int) -> Tensor:
    """Frames [batch, *input_shape]."""
    return torch.randn(batch, *model.shape.input_shape, generator=torch.Generator().manual_seed(0))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    main()
