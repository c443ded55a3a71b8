"""Measure how often the built-in model is right: every payload at several pruning levels and split points.

    python scripts/measure_digits_accuracy.py

Runs the shipped checkpoint on the frames that ship with it, each payload through the real wire formats, and writes the
accuracy table that the planner loads. Lossless payloads are one measurement, since they change no value.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from janus_vit.model.builtin import builtin_frames
from janus_vit.model.catalog import BUILTIN, Model
from janus_vit.model.checkpoints import read_checkpoint
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.preprocessing import Frame
from janus_vit.model.stage import Activation
from janus_vit.planning.accuracy import AccuracyTable
from janus_vit.planning.payloads import LOCAL, PayloadFormat, parse_payload
from janus_vit.planning.schedules import largest_level, make_schedule
from janus_vit.wire.images import decode_image, encode_image
from janus_vit.wire.tokens import decode_tokens, encode_tokens

DATA = Path("src/janus_vit/data")
FAMILY = "exponential"
LEVEL_STEP = 0.08
LOSSLESS = ("local", "float32", "tensor", "png")
TOKENS = ("float16", "float8", "int8", "int4")
IMAGES = ("jpeg90", "jpeg75", "jpeg50", "webp75")
_BATCH = 100


class Measurement:
    """Counts right answers on all frames."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._engine = EagerEngine(model)
        frames, labels = builtin_frames()
        self._images = [model.preprocessing.crop(np.ascontiguousarray(frame)) for frame in frames]
        self._labels = labels
        self.frames = len(labels)

    def accuracy(self, level: float, payload_name: str, split: int) -> float:
        """Share of right answers when the payload crosses at the split."""
        merges = make_schedule(FAMILY, level, self._model.shape).applied
        payload = None if payload_name == LOCAL else parse_payload(payload_name)
        right = 0
        for start in range(0, self.frames, _BATCH):
            images = self._images[start : start + _BATCH]
            answers = self._answers(images, merges, payload, split)
            right += int((answers == self._labels[start : start + _BATCH]).sum())
        return right / self.frames

    def _answers(
        self, images: list[Frame], merges: tuple[int, ...], payload: PayloadFormat | None, split: int
    ) -> NDArray[np.int64]:
        if payload is not None and not payload.of_tokens:
            size = self._model.preprocessing.image_size
            images = [decode_image(encode_image(image, payload), payload, size, size) for image in images]
        pixels = torch.cat([self._model.preprocessing.normalise(image) for image in images])
        activation = self._engine.embed(pixels, merges)
        if payload is not None and payload.of_tokens:
            activation = _through_wire(self._engine.run(activation, split), payload)
        logits = self._engine.head(self._engine.run(activation, self._model.shape.blocks))
        return np.asarray(logits.argmax(1).numpy())


def _through_wire(activation: Activation, payload: PayloadFormat) -> Activation:
    count, width = activation.tokens.shape[1:]
    received = [
        decode_tokens(encode_tokens(tokens, sizes, payload), payload, count, width)
        for tokens, sizes in zip(activation.tokens, activation.sizes, strict=True)
    ]
    tokens = torch.stack([tokens for tokens, _ in received])
    sizes = torch.stack([sizes for _, sizes in received])
    return Activation(tokens, sizes, activation.next_block, activation.merges, activation.fingerprint)


def measure(model: Model, command: str) -> AccuracyTable:
    """The whole grid, with a progress bar."""
    measurement = Measurement(model)
    blocks = model.shape.blocks
    top = largest_level(FAMILY, model.shape)
    levels = (*(round(i * LEVEL_STEP, 2) for i in range(int(top / LEVEL_STEP - 0.5) + 1)), top)
    splits = (1, blocks // 2, blocks)
    cases = [("local", (blocks + 1,)), *((name, splits) for name in TOKENS), *((name, (0,)) for name in IMAGES)]
    grids: dict[str, NDArray[np.float64]] = {}
    with Progress() as progress:
        task = progress.add_task("measuring", total=len(levels) * sum(len(at) for _, at in cases))
        for name, at in cases:
            grids[name] = np.zeros((len(levels), len(at)))
            for row, column in np.ndindex(grids[name].shape):
                grids[name][row, column] = measurement.accuracy(levels[row], name, at[column])
                progress.advance(task)
    about = {
        "command": command,
        "fingerprint": model.fingerprint,
        "engine": "eager",
        "versions": {name: version(name) for name in ("janus-vit", "torch", "pillow")},
    }
    accuracy = {**dict.fromkeys(LOSSLESS, grids["local"]), **grids}
    return AccuracyTable(model.name, FAMILY, measurement.frames, levels, splits, accuracy, about)


def show(table: AccuracyTable) -> None:
    """Print accuracy in percent, one row a payload; token formats at the middle split."""
    view = Table("payload", *(f"{level:.2f}" for level in table.levels), title=f"{table.model}: % right by level")
    for name, grid in table.accuracy.items():
        view.add_row(name, *(f"{100 * value:.1f}" for value in grid[:, grid.shape[1] // 2]))
    Console().print(view)


def main() -> None:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # Not by name: the catalog needs the file that is made here.
    table = measure(
        Model(BUILTIN, *read_checkpoint(DATA / f"{BUILTIN}.safetensors")), shlex.join(["python", *sys.argv])
    )
    show(table)
    table.save(DATA / f"{BUILTIN}-accuracy.json")


if __name__ == "__main__":
    main()
