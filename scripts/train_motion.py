"""Train the small video model that ships in the package.

    PYTHONPATH=src python scripts/train_motion.py --seed 0 --minutes 15

Draws endless clips of moving digits (`janus_vit.sources.motion`) from the glyphs for training, trains without merging,
and writes the checkpoint, the provenance and the log; clips of held-out glyphs say how good it is. The network has the
form of VideoMAE: tubelets, no class token, a norm behind the mean. As in the built-in image model only the last blocks
are trained, and it is grown in the end by blocks that change nothing, in which tokens merge before any work is done.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import shlex
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from digits_data import ATTRIBUTION, Recipe
from numpy.typing import NDArray
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor
from train_digits import DATA, Log, Tally, forward, grow, make_optimizer, start_model, train_step, update_mean

from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.schedules import largest_level, make_schedule
from janus_vit.sources.motion import GLYPHS_FILE, MOTION_LABELS, STYLE, motion_clips

NAME = "janus-motion"
ARCHITECTURE = Architecture(
    image_size=STYLE.size,
    patch_size=8,
    width=96,
    depth=12,
    heads=6,
    mlp_width=384,
    classes=len(MOTION_LABELS),
    pooling="mean",
    prefix=0,
    frames=STYLE.frames,
    tubelet=2,
    pooled_norm=True,
)
SHAPE = ModelShape(
    NAME,
    ARCHITECTURE.depth,
    ARCHITECTURE.tokens,
    ARCHITECTURE.prefix,
    ARCHITECTURE.width,
    ARCHITECTURE.input_shape,
)
RECIPE = Recipe(batch=32, smoothing=0.05, decay=0.05, memory=800, mean=0.31, std=0.16)
_REPORT = 100  # steps between two lines of the log
_FRESH = 256  # training clips that only the log's accuracies are measured on


class Clips(NamedTuple):
    """Clips [n, T, S, S, 3] uint8 and their labels [n]."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def normalise(clips: NDArray[np.uint8], recipe: Recipe) -> Tensor:
    """Clips [B, T, S, S, 3] to model inputs [B, 3, T, S, S]."""
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float()
    return (pixels / 255 - recipe.mean) / recipe.std


def batches(recipe: Recipe) -> Iterator[Clips]:
    """Batches without end: a new one, and one of the last again in turn."""
    memory: deque[Clips] = deque(maxlen=recipe.memory)
    rng = np.random.default_rng((recipe.seed, 4))
    while True:
        memory.append(Clips(*motion_clips(recipe.batch, int(rng.integers(1 << 62)), training=True)))
        yield memory[-1]
        yield memory[int(rng.integers(len(memory)))]


def train(recipe: Recipe, log: Log) -> VisionTransformer:
    """The running mean of the weights when the time is over."""
    model = start_model(ARCHITECTURE, recipe)
    mean_model = copy.deepcopy(model)
    optimizer = make_optimizer(model, recipe)
    bar = log.progress.add_task("training", total=1.0)
    fresh = Clips(*motion_clips(_FRESH, recipe.seed, training=True))
    tally, begin = Tally(), log.seconds
    for step, batch in enumerate(batches(recipe)):
        done = (log.seconds - begin) / (60 * recipe.minutes)
        if done >= 1:
            log(f"{step} steps in {log.seconds - begin:.0f} s")
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step, done)
        pixels, labels = normalise(batch.pixels, recipe), torch.from_numpy(batch.labels)
        train_step(model, optimizer, pixels, labels, recipe, tally)
        update_mean(mean_model, model, min(recipe.average, step / (step + 20)))
        log.progress.update(bar, completed=done)
        if (step + 1) % _REPORT == 0:
            log(f"step {step + 1:5d}  blocks {len(model.blocks):2d}  {tally}")
            tally = Tally()
        if (step + 1) % (5 * _REPORT) == 0:
            log(f"fresh training clips: {report_merging(grow(mean_model, ARCHITECTURE, recipe.seed), fresh, recipe)}")
    return grow(mean_model, ARCHITECTURE, recipe.seed)


@torch.inference_mode()
def count_correct(model: VisionTransformer, clips: Clips, recipe: Recipe, level: float) -> int:
    """Clips that the model reads right at a level of the exponential schedule."""
    merges = make_schedule("exponential", level, SHAPE).applied
    correct = 0
    for start in range(0, len(clips.labels), recipe.batch):
        logits = forward(model, normalise(clips.pixels[start : start + recipe.batch], recipe), merges)
        correct += int((logits.argmax(1).numpy() == clips.labels[start : start + recipe.batch]).sum())
    return correct


def report_merging(model: VisionTransformer, clips: Clips, recipe: Recipe) -> str:
    """Accuracy without and with the most merging."""
    most = largest_level("exponential", SHAPE)
    shares = [count_correct(model, clips, recipe, level) / len(clips.labels) for level in (0.0, most)]
    return f"accuracy {shares[0]:.3f} without merging, {shares[1]:.3f} at level {most:.2f}"


def save(model: VisionTransformer, recipe: Recipe, log: Log, folder: Path) -> None:
    """Write checkpoint, provenance and log."""
    stored = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in stored.items()})  # what is stored is what is tested
    held_out = Clips(*motion_clips(recipe.frames, recipe.seed))
    most = largest_level("exponential", SHAPE)
    correct, merged = (count_correct(model, held_out, recipe, level) for level in (0.0, most))
    log(f"{correct} of {recipe.frames} held-out clips right without merging, {merged} at level {most:.2f}")
    about: dict[str, object] = {
        "command": shlex.join(["python", *sys.argv]),
        "seed": recipe.seed,
        "accuracy": correct / recipe.frames,
        "clips": recipe.frames,
        "attribution": ATTRIBUTION,
    }
    colour = (recipe.mean,) * 3, (recipe.std,) * 3
    preprocessing = Preprocessing(ARCHITECTURE.image_size, *colour, frames=ARCHITECTURE.frames)
    save_file(
        stored,
        folder / f"{NAME}.safetensors",
        checkpoint_metadata(ARCHITECTURE, preprocessing, MOTION_LABELS, about),
    )
    (folder / f"{NAME}.safetensors").chmod(0o644)
    text = json.dumps(provenance(recipe, about, log), indent=1)
    (folder / f"{NAME}.json").write_text(text + "\n", encoding="utf-8")
    (folder / f"{NAME}-training.log").write_text("\n".join(log.lines) + "\n", encoding="utf-8")


def provenance(recipe: Recipe, about: dict[str, object], log: Log) -> dict[str, object]:
    """All that is needed to make the files again."""
    return {
        "schema": "janus-vit/provenance/1",
        **about,
        "training_seconds": round(log.seconds),
        "threads": torch.get_num_threads(),
        "recipe": asdict(recipe),
        "architecture": asdict(ARCHITECTURE),
        "motion": asdict(STYLE),
        "glyphs": GLYPHS_FILE,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }


def main() -> None:
    """Train, test and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of clips and weights (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=15.0, help="length of the training (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=DATA, help="where the files go (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = replace(RECIPE, seed=arguments.seed, minutes=arguments.minutes)
    with Progress() as progress:
        log = Log(progress)
        log(f"command: {shlex.join(['python', *sys.argv])}")
        for part in (recipe, ARCHITECTURE, STYLE):
            log(str(part))
        save(train(recipe, log), recipe, log, arguments.output)


if __name__ == "__main__":
    main()
