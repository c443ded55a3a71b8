"""Measure what an engine's first run at each merging level costs, and how much memory it holds after all levels.

    python benchmarks/levels.py [--models vit-base-224] [--only int8,zen-int8]

Each engine has its own process, 2 threads, random weights and batch 1. It does a few unmerged runs, then runs every
level of the planner's schedule three times in a row. "first" and "most" are median and maximum, over levels, of the
first run divided by the faster of the two later ones. "again" is the median of a second round over all levels, divided
by the same. Memory is the process's size without torch itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from _common import print_json, resident_bytes, run_in_process
from _engine_models import SIZES, model_names, write_checkpoint
from _engine_plans import Merges, levels_of

from janus_vit.model.catalog import load_model
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.model.memory import trim

WARM_UP, THREADS = 3, 2


def measure(pipe: Connection, name: str, folder: str) -> None:
    """Measure one engine in a fresh process; send its row."""
    torch.set_num_threads(THREADS)
    before_bytes = resident_bytes("VmRSS")
    model = load_model(folder)
    shape, options = model.shape, levels_of(model.shape)
    engine = make_engine(model, name, keep_model=False)
    trim()
    pixels = torch.randn(1, *shape.input_shape, generator=torch.Generator().manual_seed(1))

    def run_ms(merges: Merges) -> float:
        began_s = time.perf_counter()
        engine.head(engine.run(engine.embed(pixels, merges), shape.blocks))
        return 1e3 * (time.perf_counter() - began_s)

    for _ in range(WARM_UP):
        run_ms((0,) * shape.blocks)
    unmerged_bytes = resident_bytes("VmRSS") - before_bytes
    firsts_ms, laters_ms = [], []
    for merges in options:
        firsts_ms.append(run_ms(merges))
        laters_ms.append(min(run_ms(merges) for _ in range(2)))
    held_bytes = resident_bytes("VmRSS") - before_bytes
    agains_ms = [run_ms(merges) for merges in options]
    firsts = [first / later for first, later in zip(firsts_ms, laters_ms, strict=True)]
    agains = [again / later for again, later in zip(agains_ms, laters_ms, strict=True)]
    pipe.send(
        {
            "engine": name,
            "levels": len(options),
            "first_median": round(statistics.median(firsts), 2),
            "first_most": round(max(firsts), 2),
            "again_median": round(statistics.median(agains), 2),
            "unmerged_mb": round(unmerged_bytes / 1e6),
            "all_levels_mb": round(held_bytes / 1e6),
        }
    )


def main() -> None:
    """Print a table for each model, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=model_names, default=",".join(SIZES), help=f"of {', '.join(SIZES)}")
    parser.add_argument("--only", default="", help="engines, separated by commas; default: all that run here")
    options = parser.parse_args()
    able = [name for name, kind in ENGINES.items() if kind.runs_here]
    only = [name for name in options.only.split(",") if name] or able
    if unknown := sorted({*only} - {*able}):
        parser.error(f"--only: {', '.join(unknown)} cannot run here: use some of {', '.join(able)}")
    rows: list[dict[str, object]] = []
    for model in options.models:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / model
            write_checkpoint(folder)
            print(f"{model}, {THREADS} threads")
            print(f"{'engine':<14}{'first':>8}{'most':>8}{'again':>8}{'MB':>8}{'MB, all':>10}")
            for name in only:
                row = {"model": model, **run_in_process(measure, name, str(folder))}
                rows.append(row)
                fields = ("first_median", "first_most", "again_median", "unmerged_mb")
                print(f"{name:<14}" + "".join(f"{row[field]:>8}" for field in fields) + f"{row['all_levels_mb']:>10}")
    print_json("levels", WARM_UP, rows)


if __name__ == "__main__":
    main()
