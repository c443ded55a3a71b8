"""Whether frames of one shape are faster in one batch than one by one, on the CPU.

    python benchmarks/batching.py [--model vit-base-224] [--engines eager,packed] [--sizes 2,4,8] [--rounds 5]

Each engine runs all blocks on the same frames, stacked and one by one in turn, so that other load falls on both; the
least of the rounds counts. "gain" is the time of one by one over that of the batch. Frames are unmerged, then at the
middle and the largest level of the paper's schedule.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from _common import print_json, timed_ms

from janus_vit.model.catalog import load_model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.model.stage import Activation
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.schedules import levels, make_schedule


def main() -> None:
    """Print a row for each engine, level and batch size, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit-base-224")
    parser.add_argument("--engines", default="eager,packed,packed-zen,zen-bf16,zen-int8")
    parser.add_argument("--sizes", default="2,4,8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = load_model(options.model).shape
    found = levels("exponential", shape)
    plans = [make_schedule("exponential", level, shape).applied for level in (0.0, found[len(found) // 2], found[-1])]
    rows: list[dict[str, object]] = []
    print(f"{options.model}, {options.threads} threads\n{'engine':<12}  left  batch  one by one ms  batch ms  gain")
    for name in options.engines.split(","):
        if not ENGINES[name].runs_here:
            continue
        engine = make_engine(load_model(options.model), name, keep_model=False)
        for merges in plans:
            for size in map(int, options.sizes.split(",")):
                alone_ms, together_ms = batch_ms(
                    engine, shape.blocks, start(engine, shape, size, merges), options.rounds
                )
                left, gain = shape.tokens - sum(merges), alone_ms / together_ms
                print(f"{name:<12} {left:>5} {size:>6} {alone_ms:>14.1f} {together_ms:>9.1f} {gain:>5.2f}", flush=True)
                measured = {"alone_ms": round(alone_ms, 2), "batch_ms": round(together_ms, 2), "gain": round(gain, 3)}
                rows.append({"engine": name, "tokens_left": left, "batch": size, **measured})
    print_json("batching", 1, rows)


def start(engine: Engine, shape: ModelShape, size: int, merges: tuple[int, ...]) -> Activation:
    """Random frames before the first block."""
    pixels = torch.randn(size, *shape.input_shape, generator=torch.Generator().manual_seed(0))
    return engine.embed(pixels, merges)


def batch_ms(engine: Engine, blocks: int, batch: Activation, rounds: int) -> tuple[float, float]:
    """Least milliseconds a frame, one by one and in one batch."""
    pairs = zip(torch.split(batch.tokens, 1), torch.split(batch.sizes, 1), strict=True)
    frames = [replace(batch, tokens=tokens, sizes=sizes) for tokens, sizes in pairs]
    ways = lambda: engine.run_batch(frames, blocks), lambda: engine.run(batch, blocks)
    least_ms = [min(timed_ms(way, 1, 1)) for way in ways]
    for _ in range(rounds):
        least_ms = [min(least, *timed_ms(way, 1, 0)) for least, way in zip(least_ms, ways, strict=True)]
    return least_ms[0] / len(frames), least_ms[1] / len(frames)


if __name__ == "__main__":
    main()
