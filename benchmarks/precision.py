"""Measure what lower precision costs in accuracy: right answers of every engine on the built-in models.

    python benchmarks/precision.py [--clips 2000] [--engines eager,packed-bf16,int8]

Each model runs at three merging levels. "lost" counts the answers that are right with the first engine and wrong with
this one; "won" counts the opposite. Small differences change which tokens merge, so under heavy merging answers change
in both directions: a loss of accuracy is real only if more are lost than won.
"""

from __future__ import annotations

import argparse

import torch
from _common import print_json
from torch import Tensor

from janus_vit.model.catalog import BUILTIN, BUILTIN_VIDEO, Model, load_model
from janus_vit.model.engines import registry
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import make_engine
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.sources.builtin import builtin_frames
from janus_vit.sources.motion import motion_clips

BATCH, SEED = 50, 5
ENGINES = [name for name, kind in registry.ENGINES.items() if kind.runs_here]


def inputs(model: Model, clips: int) -> tuple[Tensor, Tensor]:
    """Return pixels and labels that the model was not trained on: all built-in frames, or that many clips."""
    frames, labels = builtin_frames() if model.shape.name == BUILTIN else motion_clips(clips, SEED)
    pixels = [model.preprocessing.normalise(model.preprocessing.crop(frame)) for frame in frames]
    return torch.cat(pixels), torch.from_numpy(labels)


def right(model: Model, engine: Engine, pixels: Tensor, labels: Tensor, merges: tuple[int, ...]) -> Tensor:
    """Return for each input whether the answer is its label, [n]."""
    blocks = model.shape.blocks
    parts = [pixels[first : first + BATCH] for first in range(0, len(pixels), BATCH)]
    logits = [engine.head(engine.run(engine.embed(part, merges), blocks)) for part in parts]
    return torch.cat(logits).argmax(dim=1) == labels


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000, help="number of clips for janus-motion")
    parser.add_argument(
        "--engines",
        default=",".join(ENGINES),
        help="engines, separated by commas; the others are compared with the first",
    )
    options = parser.parse_args()
    if unable := [name for name in options.engines.split(",") if name not in ENGINES]:
        parser.error(f"--engines: {', '.join(unable)} cannot run here: use some of {', '.join(ENGINES)}")
    rows: list[dict[str, object]] = []
    print(f"{'model':<13} {'level':>5} {'engine':<12} {'inputs':>6} {'right %':>8} {'lost':>5} {'won':>5}")
    for name in (BUILTIN, BUILTIN_VIDEO):
        model = load_model(name)
        pixels, labels = inputs(model, options.clips)
        engines = {engine: make_engine(model, engine) for engine in options.engines.split(",")}
        found = levels("exponential", model.shape)
        for level in (found[0], found[len(found) // 2], found[-1]):
            merges = make_schedule("exponential", level, model.shape).applied
            first: Tensor | None = None
            for each, engine in engines.items():
                answers = right(model, engine, pixels, labels, merges)
                first = answers if first is None else first
                lost, won = int((first & ~answers).sum()), int((answers & ~first).sum())
                share = 100 * float(answers.float().mean())
                print(
                    f"{name:<13} {level:>5.2f} {each:<12} {len(labels):>6} {share:>8.2f} {lost:>5} {won:>5}",
                    flush=True,
                )
                row = {"model": name, "level": level, "engine": each, "inputs": len(labels)}
                rows.append(row | {"right_percent": share, "lost": lost, "won": won})
    print_json("precision", 0, rows)


if __name__ == "__main__":
    main()
