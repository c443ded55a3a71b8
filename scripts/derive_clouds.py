"""Derive clouds for `janus_vit.reproduction.published`: profiles for planning and cost tables for scheduling.

    python scripts/derive_clouds.py [--measure-cpu]

Writes src/janus_vit/data/platforms/. The field `about` of each file says what was measured and what was not.

- **V100**: the profile that `fit_platforms.py` fitted. Nothing was published about batches, so n frames take n times as
  long as one.
- **T4**: the V100, slowed by the larger one of the ratios of peak arithmetic and of memory bandwidth.
- **H100**: measured whole runs. Each batch size gives one row of block times and one merge cost, see `measured_row`.
- **CPU**: profiled with --measure-cpu, in two minutes. Its engine runs the frames of a batch one by one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.isotonic import isotonic_regression

from janus_vit.planning.latency import Cost, Curve, PlatformProfile, fit_line, fit_quadratic, load_profile
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.schedules import Schedule, levels, make_schedule
from janus_vit.reproduction.published import SHAPES, published_profile
from janus_vit.scheduling.costs import CostTable, profile_costs
from janus_vit.scheduling.estimate import BatchCosts

DATA = Path(__file__).parents[1] / "src" / "janus_vit" / "data" / "platforms"
COMMAND = "python scripts/derive_clouds.py"
MODELS = ("vit-large-384", "vit-base-224")

# Peak of float16 tensor cores (112 for a V100 as a PCIe card) and memory bandwidth
V100_TFLOPS, V100_GBPS, T4_TFLOPS, T4_GBPS = 125.0, 900.0, 65.0, 320.0
T4_FACTOR = max(V100_TFLOPS / T4_TFLOPS, V100_GBPS / T4_GBPS)
LEVELS = ("unmerged", "a third of the levels", "two thirds of the levels", "largest level")


@dataclass(frozen=True)
class Measured:
    """Whole runs on one H100, torch 2.11, bfloat16, random weights, from pixels on the GPU to logits on the CPU.

    Attributes:
        blocks_ms: one unmerged frame without stem and head.
        levels_ms: time of a batch at each of `LEVELS`, by frames: the smallest and the largest batch.
        frames_per_s: unmerged frames per second, by frames of a batch.
    """

    blocks_ms: float
    levels_ms: Mapping[int, tuple[float, float, float, float]]
    frames_per_s: Mapping[int, float]


H100 = {
    "vit-large-384": Measured(2.2, {1: (2.68, 6.19, 5.57, 5.42), 32: (35.2, 49.5, 43.3, 23.8)}, {8: 849.0, 32: 909.0}),
    "vit-base-224": Measured(
        0.8, {1: (1.39, 2.93, 3.18, 2.63), 64: (8.84, 12.10, 11.08, 7.54)}, {16: 5400.0, 64: 7290.0}
    ),
}


@dataclass(frozen=True)
class Row:
    """Milliseconds of one batch size.

    Attributes:
        block_ms: one block that does not merge, by tokens.
        merge_ms: what merging adds to one block.
    """

    block_ms: tuple[float, ...]
    merge_ms: float


def schedules(shape: ModelShape) -> list[Schedule]:
    """Return the schedules of `LEVELS`."""
    found = levels("exponential", shape)
    picked = (found[0], found[len(found) // 3], found[2 * len(found) // 3], found[-1])
    return [make_schedule("exponential", level, shape) for level in picked]


def work_of(schedule: Schedule) -> tuple[float, int]:
    """Return the effective tokens of all blocks, added up, and the number of merging blocks."""
    pairs = list(zip(schedule.tokens[:-1], schedule.tokens[1:], strict=True))
    return sum((before + 2 * after) / 3 for before, after in pairs), sum(before > after for before, after in pairs)


def measured_row(times_ms: Sequence[float], ends_ms: float, blocks: int, floor_ms: float | None) -> Row:
    """Split measured whole runs into blocks and merging.

    The runs are the only measurement, so the split between a merging block's own time and its merging is a choice. The
    merge cost is the smallest with which block times rise with tokens. Runs that get faster with more tokens are noise
    and are replaced by their mean.

    Args:
        times_ms: time of a batch at each of `LEVELS`.
        ends_ms: stem and head.
        blocks: depth of the model.
        floor_ms: time of a block of one token; None: the same as of the fewest tokens that were measured.
    """
    unmerged_ms = times_ms[0] - ends_ms
    merged_ms = isotonic_regression(np.array(times_ms[:0:-1])) - ends_ms  # by rising tokens
    merging_ms = float(merged_ms[-1]) - unmerged_ms
    block_ms = [*(merged_ms - merging_ms) / blocks, unmerged_ms / blocks]
    return Row((block_ms[0] if floor_ms is None else floor_ms, *map(float, block_ms)), merging_ms / blocks)


def between(first: Row, last: Row, share: float, unmerged_ms: float) -> Row:
    """Interpolate between two rows, and scale the blocks so that an unmerged one takes `unmerged_ms`."""
    mixed = [low + share * (high - low) for low, high in zip(first.block_ms, last.block_ms, strict=True)]
    scaled = tuple(each * unmerged_ms / mixed[-1] for each in mixed)
    return Row(scaled, first.merge_ms + share * (last.merge_ms - first.merge_ms))


def h100_costs(shape: ModelShape) -> CostTable:
    """Return the cost table of an H100, with the error of every measured number."""
    measured = H100[shape.name]
    least, most = measured.levels_ms
    ends_ms = measured.levels_ms[least][0] - measured.blocks_ms
    first = measured_row(measured.levels_ms[least], ends_ms, shape.blocks, None)
    last = measured_row(measured.levels_ms[most], ends_ms, shape.blocks, first.block_ms[0])
    rows = {least: first, most: last}
    for frames, rate in measured.frames_per_s.items():
        if frames in rows:
            continue
        unmerged_ms = (1e3 * frames / rate - ends_ms) / shape.blocks
        rows[frames] = between(first, last, (frames - least) / (most - least), unmerged_ms)
    found = dict(sorted(rows.items()))
    means = [round(work_of(schedule)[0] / shape.blocks) for schedule in schedules(shape)]
    half_s = (ends_ms / 2 / 1e3,) * len(found)
    table = CostTable(
        model=shape.name,
        frames=tuple(found),
        tokens=(1.0, *map(float, sorted(means))),
        block_s=tuple(tuple(ms / 1e3 for ms in row.block_ms) for row in found.values()),
        stem_s=half_s,
        head_s=half_s,
        merge_s=tuple(row.merge_ms / 1e3 for row in found.values()),
    )
    return rounded_costs(replace(table, about=h100_about(table, shape)))


def h100_about(table: CostTable, shape: ModelShape) -> dict[str, Any]:
    """Return where the numbers of an H100 come from."""
    return {
        "command": COMMAND,
        "measured": "on one H100 with torch 2.11 in bfloat16 and random weights, by a former engine that ran one shape "
        "at a time and merged with about twenty kernels; the present engine merges with at most three and has not run "
        "on a GPU",
        "fits": fits(table, shape),
        "not measured": f"merging in batches of {table.frames[1]} (between the other two), fewer tokens than the "
        "largest level has (a block of one token takes as long in a batch as alone), stem and head of more than one "
        "frame (as of one frame, halved between them), copies to the GPU, and frames of different plans in one batch",
    }


def fits(table: CostTable, shape: ModelShape) -> list[dict[str, Any]]:
    """Return each measured number beside what the table predicts."""
    measured = H100[shape.name]
    costs = BatchCosts(table, shape.blocks, table.frames[-1])
    found = [
        (f"batch of {frames}, {name}", frames, schedule, ms)
        for frames, times_ms in measured.levels_ms.items()
        for name, schedule, ms in zip(LEVELS, schedules(shape), times_ms, strict=True)
    ]
    for frames, rate in measured.frames_per_s.items():
        found.append((f"batch of {frames}, frames per second", frames, schedules(shape)[0], 1e3 * frames / rate))
    rows = []
    for number, frames, schedule, ms in found:
        work, merges = work_of(schedule)
        fitted_ms = 1e3 * costs.segment_s(frames, 0, shape.blocks, frames * work, frames * merges)
        error = round(100 * (fitted_ms / ms - 1), 1) + 0.0
        rows.append({"number": number, "ms": round(ms, 2), "fitted_ms": round(fitted_ms, 2), "error_percent": error})
    return rows


def h100_profile(costs: CostTable, decoding: PlatformProfile) -> PlatformProfile:
    """Return the profile of an H100 that runs one frame at a time, and decodes payloads as `decoding` does."""
    tokens = np.linspace(costs.tokens[0], costs.tokens[-1], 40)
    seconds = np.interp(tokens, costs.tokens, costs.block_s[0])
    samples = tuple((int(each), int(each), one_s) for each, one_s in zip(costs.tokens, costs.block_s[0], strict=True))
    return replace(
        decoding,
        stem_s=costs.stem_s[0],
        head_s=costs.head_s[0],
        line=rounded_curve(fit_line(tokens, seconds)),
        quadratic=rounded_curve(fit_quadratic(tokens, seconds)),
        merge=Cost(costs.merge_s[0], 0.0),
        about={
            **costs.about,
            "engine": "measured",
            "curves": "fitted to the row of one frame in the cost table; the samples are that row",
            "payloads": f"as of the V100: {decoding.about['payloads']}",
        },
        samples=samples,
    )


def t4_profile(v100: PlatformProfile) -> PlatformProfile:
    """Return the profile of a T4: the V100's compute, slowed; payloads are the CPU's work and stay."""
    slowed = v100.slowed(T4_FACTOR)
    about = {
        "command": COMMAND,
        "engine": "derived",
        "derived": f"the V100's profile times {T4_FACTOR:.4g}; nothing was measured on a T4",
        "factor": f"the larger one of {V100_GBPS:g} / {T4_GBPS:g} GB/s and {V100_TFLOPS:g} / {T4_TFLOPS:g} TFLOP/s "
        f"({V100_TFLOPS / T4_TFLOPS:.3g}) of float16 tensor cores. It is the pessimistic one, since a T4 is limited to "
        "70 W and does not hold its peak",
        "v100": v100.about,
    }
    quadratic, line = rounded_curve(slowed.quadratic), rounded_curve(slowed.line)
    compute = replace(
        v100, stem_s=rounded(slowed.stem_s), head_s=rounded(slowed.head_s), line=line, quadratic=quadratic
    )
    return replace(compute, about=about)


def one_by_one(profile: PlatformProfile, shape: ModelShape, why: str) -> CostTable:
    """Return the cost table of a machine where n frames take n times as long as one."""
    table = profile_costs(profile, shape)
    return rounded_costs(replace(table, about={**profile.about, "batches": why, "table": COMMAND}))


def rounded(value: float) -> float:
    """Round to six digits, which are the same on every machine."""
    return float(f"{value:.6g}")


def rounded_curve(curve: Curve) -> Curve:
    """Round every number of a curve."""
    return Curve(**{name: rounded(value) for name, value in asdict(curve).items()})


def rounded_costs(table: CostTable) -> CostTable:
    """Round every time of a cost table."""
    return replace(
        table,
        block_s=tuple(tuple(map(rounded, row)) for row in table.block_s),
        stem_s=tuple(map(rounded, table.stem_s)),
        head_s=tuple(map(rounded, table.head_s)),
        merge_s=tuple(map(rounded, table.merge_s)),
    )


def measure_cpu(folder: Path) -> None:
    """Profile this CPU with one thread and the fastest bfloat16 engine, in CPU time, and write the profiles."""
    import torch
    from fit_platforms import photos

    from janus_vit.calibration.profiler import FULL, profile_machine
    from janus_vit.model.catalog import load_model
    from janus_vit.model.engines.factory import make_engine

    torch.set_num_threads(1)
    for name in MODELS:
        model = load_model(name)
        engine = make_engine(model, "auto-bf16")
        frames = photos(SHAPES[name].input_shape[-1], 1)
        measured = profile_machine(model, frames, engine, FULL, f"{COMMAND} --measure-cpu", clock=time.thread_time)
        about = {**measured.about, "clock": "CPU time of one thread"}
        replace(measured, about=about).save(folder / f"cpu_{name}.json")


def derive(folder: Path) -> None:
    """Write every file that does not need a measurement."""
    for name in MODELS:
        shape, v100 = SHAPES[name], published_profile("v100", name)
        t4, h100 = t4_profile(v100), h100_costs(shape)
        why = "nothing is known about batches, so n frames take n times as long as one"
        one_by_one(v100, shape, why).save(folder / f"v100_{name}_costs.json")
        one_by_one(t4, shape, why).save(folder / f"t4_{name}_costs.json")
        t4.save(folder / f"t4_{name}.json")
        h100.save(folder / f"h100_{name}_costs.json")
        h100_profile(h100, v100).save(folder / f"h100_{name}.json")
        cpu = load_profile(DATA / f"cpu_{name}.json")
        why = "the engine runs the frames of a batch one by one; merging is charged as at all tokens, in every block"
        one_by_one(cpu, shape, why).save(folder / f"cpu_{name}_costs.json")


def main() -> None:
    """Write the files, and print how well the H100's tables fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure-cpu", action="store_true", help="profile this CPU first")
    if parser.parse_args().measure_cpu:
        measure_cpu(DATA)
    derive(DATA)
    for name in MODELS:
        print(f"\n{name} on an H100\n{'measured':<45}{'ms':>9}{'fitted':>9}{'error %':>9}")
        for each in fits(h100_costs(SHAPES[name]), SHAPES[name]):
            print(f"{each['number']:<45}{each['ms']:9.2f}{each['fitted_ms']:9.2f}{each['error_percent']:9.1f}")


if __name__ == "__main__":
    main()
