"""Measure what rotary positions cost: a block with and without, unmerged and merging, in each engine that runs here.

    python benchmarks/rotary.py [--engines NAME,NAME] [--models TEXT]

Both models have the same weights and tokens, and run in turns on one thread; the medians count. Where blocks merge, the
cost includes following the patches and computing new angles in each block. The limit is 3 %. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from statistics import median

import torch

from janus_vit.cli.common.console import plain_table, results
from janus_vit.model.catalog import Model
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.stage import made_up
from janus_vit.model.vit import Architecture, VisionTransformer

SIZES = {"ViT-S/16@224": (224, 384, 6), "ViT-B/16@224": (224, 768, 12), "ViT-B/16@512": (512, 768, 12)}
KINDS = ("shared", "each")
LIMIT = 0.03  # of a block
DEPTH, LEAST_ROUNDS, SECONDS = 4, 5, 2.0  # of each pair of models
MERGED = 0.5  # share of the tokens that have merged before blocks that merge


def model_of(arch: Architecture) -> Model:
    """A model with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = VisionTransformer(arch).eval().requires_grad_(False)
    return Model("rotary" if arch.rotary else "plain", network, Preprocessing(arch.image_size), (), task="embed")


def block_ms(name: str, kind: str, engine: str, merging: bool) -> tuple[float, float]:
    """CPU time of a block without and with rotary positions in ms, medians."""
    image_size, width, heads = SIZES[name]
    plain = Architecture(image_size, 16, width, DEPTH, heads, 4 * width, 0, pooling="mean", prefix=5)
    found = []
    for arch in (plain, replace(plain, rotary=kind)):
        model = model_of(arch)
        count = arch.prefix + round(arch.patches * (1 - MERGED * merging))
        tokens = torch.randn(1, count, width, generator=torch.Generator().manual_seed(0))
        sizes = torch.full((1, count), 2.0 if merging else 1.0)
        start = made_up(arch, tokens, sizes, 0, (int(merging),) * DEPTH, model.fingerprint)
        found.append((make_engine(model, engine), start))
    taken_s: tuple[list[float], list[float]] = [], []
    while len(taken_s[0]) < LEAST_ROUNDS or sum(map(sum, taken_s)) < SECONDS / DEPTH:
        for times, (runner, start) in zip(taken_s, found, strict=True):
            began_s = time.process_time()
            runner.run(start, DEPTH)
            times.append((time.process_time() - began_s) / DEPTH)
    return 1e3 * median(taken_s[0]), 1e3 * median(taken_s[1])


def main() -> None:
    """Print a table and one line of JSON."""
    runnable = [spec.name for spec in ENGINES.values() if spec.on_cpu and spec.runs_here]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", default=",".join(runnable), help="names with commas; default: all that run here")
    parser.add_argument("--models", default="", metavar="TEXT", help="only models whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = plain_table("model", "angles", "engine", "merging", "plain ms", "rotary ms", "more", "limit", left=3)
    rows = []
    for name in (name for name in SIZES if arguments.models in name):
        for engine in arguments.engines.split(","):
            for kind, merging in ((kind, merging) for kind in KINDS for merging in (False, True)):
                plain_ms, rotary_ms = block_ms(name, kind, engine, merging)
                more = rotary_ms / plain_ms - 1
                rows.append({"model": name, "angles": kind, "engine": engine, "merging": merging, "more": more})
                cells = f"{plain_ms:.2f}", f"{rotary_ms:.2f}", f"{more:+.1%}", f"{LIMIT:+.0%}"
                table.add_row(name, kind, engine, "yes" if merging else "no", *cells)
    results().print(table)
    print(json.dumps({"threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
