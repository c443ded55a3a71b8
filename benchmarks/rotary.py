"""Measure what rotary positions cost: a block with and without, unmerged and merged.

    python benchmarks/rotary.py

Both blocks have the same weights and tokens, and run in turns on one thread. The last line is JSON.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import torch

from janus_vit.cli.common.console import plain_table, results
from janus_vit.model.catalog import Model
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.stage import made_up
from janus_vit.model.vit import Architecture, VisionTransformer

SIZES = {"ViT-S/16@224": (224, 384, 6), "ViT-B/16@224": (224, 768, 12), "ViT-B/16@512": (512, 768, 12)}
ENGINES = ("packed", "packed-bf16")
DEPTH, ROUNDS, MERGED = 4, 40, 0.5  # share of the tokens that have merged before


def model_of(arch: Architecture) -> Model:
    """A model with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = VisionTransformer(arch).eval().requires_grad_(False)
    return Model("rotary" if arch.rotary else "plain", network, Preprocessing(arch.image_size), (), task="embed")


def block_ms(name: str, engine: str, merged: float) -> tuple[float, float]:
    """CPU time of a block without and with rotary positions in ms: the least of several runs, taken in turns."""
    image_size, width, heads = SIZES[name]
    plain = Architecture(image_size, 16, width, DEPTH, heads, 4 * width, 0, pooling="mean", prefix=5)
    found = []
    for arch in (plain, replace(plain, rotary="shared")):
        model = model_of(arch)
        count = arch.prefix + round(arch.patches * (1 - merged))
        tokens = torch.randn(1, count, width, generator=torch.Generator().manual_seed(0))
        sizes = torch.full((1, count), 2.0 if merged else 1.0)
        start = made_up(arch, tokens, sizes, 0, (0,) * DEPTH, model.fingerprint)
        found.append((make_engine(model, engine), start))
    least_s = [float("inf")] * 2
    for _ in range(ROUNDS):
        for index, (runner, start) in enumerate(found):
            began_s = time.process_time()
            runner.run(start, DEPTH)
            least_s[index] = min(least_s[index], (time.process_time() - began_s) / DEPTH)
    return 1e3 * least_s[0], 1e3 * least_s[1]


def main() -> None:
    """Print a table and one line of JSON."""
    torch.set_num_threads(1)
    table, rows = plain_table("model", "engine", "merged", "plain ms", "rotary ms", "more", left=2), []
    for name in SIZES:
        for engine in ENGINES:
            for merged in (0.0, MERGED):
                plain_ms, rotary_ms = block_ms(name, engine, merged)
                more = rotary_ms / plain_ms - 1
                rows.append({"model": name, "engine": engine, "merged": merged, "plain_ms": plain_ms, "more": more})
                table.add_row(name, engine, f"{merged:.0%}", f"{plain_ms:.2f}", f"{rotary_ms:.2f}", f"{more:+.1%}")
    results().print(table)
    print(json.dumps({"threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
