"""The command line of the training scripts: train a task's model, test it, and write its files.

Writes NAME.safetensors (the checkpoint), NAME.json (its provenance) and NAME-training.log.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from rich.progress import Progress
from safetensors.torch import save_file
from training import Log, count_correct, report_merging, train
from training_task import ATTRIBUTION, DATA, Recipe, Task

from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import VisionTransformer


def run(task: Task, recipe: Recipe, description: str, threads: int) -> None:
    """Read the command line, train, test and write the files.

    Args:
        task: what to train.
        recipe: the defaults; the command line replaces `seed` and `minutes`.
        description: first line of --help.
        threads: default number of CPU threads.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=recipe.seed, help="seed of samples and weights (%(default)s)")
    parser.add_argument("--minutes", type=float, default=recipe.minutes, help="length of the training (%(default)s)")
    parser.add_argument("--threads", type=int, default=threads, help="number of CPU threads (%(default)s)")
    parser.add_argument("--output", type=Path, default=DATA, help="folder for the files (%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = replace(recipe, seed=arguments.seed, minutes=arguments.minutes)
    with Progress() as progress:
        log = Log(progress)
        log(f"command: {_command()}")
        for part in (recipe, task.architecture, task.style):
            log(str(part))
        save(train(task, recipe, log), task, recipe, log, arguments.output)


def save(model: VisionTransformer, task: Task, recipe: Recipe, log: Log, folder: Path) -> None:
    """Test the model on held-out samples, and write checkpoint, provenance and log."""
    stored = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in stored.items()})  # test what is stored
    held_out = task.held_out(recipe)
    correct, count = count_correct(model, held_out, task, recipe, 0.0), len(held_out.labels)
    log(f"{count} held-out {task.samples_name}: {report_merging(model, held_out, task, recipe)}")
    about: dict[str, object] = {
        "command": _command(),
        "seed": recipe.seed,
        "accuracy": correct / count,
        task.samples_name: count,
        "attribution": ATTRIBUTION,
    }
    architecture = task.architecture
    preprocessing = Preprocessing(
        architecture.image_size, (recipe.mean,) * 3, (recipe.std,) * 3, frames=architecture.frames
    )
    checkpoint = folder / f"{task.name}.safetensors"
    save_file(stored, checkpoint, checkpoint_metadata(architecture, preprocessing, task.labels, about))
    checkpoint.chmod(0o644)
    text = json.dumps(_provenance(task, recipe, about, log), indent=1)
    (folder / f"{task.name}.json").write_text(text + "\n", encoding="utf-8")
    (folder / f"{task.name}-training.log").write_text("\n".join(log.lines) + "\n", encoding="utf-8")


def _provenance(task: Task, recipe: Recipe, about: dict[str, object], log: Log) -> dict[str, object]:
    """Return everything that is needed to make the files again."""
    versions = {"python": platform.python_version(), **{package: version(package) for package in task.packages}}
    return {
        "schema": "janus-vit/provenance/1",
        **about,
        "training_seconds": round(log.seconds),
        "threads": torch.get_num_threads(),
        "recipe": asdict(recipe),
        "architecture": asdict(task.architecture),
        "versions": versions,
        **task.provenance(recipe),
    }


def _command() -> str:
    return shlex.join(["python", *sys.argv])
