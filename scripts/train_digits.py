"""Train the small model that ships in the package.

    PYTHONPATH=src python scripts/train_digits.py --seed 0 --minutes 9

Reads scikit-learn's handwritten digits, splits them once by the seed, composes endless cluttered scenes from the
training digits (`janus_vit.sources.scenes`), trains without merging, and writes the checkpoint, the provenance and the
log. `draw_digits_frames.py` then draws the frames that ship.

Only the model's last blocks are trained, which is several times as fast. In the end it is grown: blocks that change
nothing (Chen et al., "Net2Net", ICLR 2016) are put before them. In the grown model tokens merge before any of the work
is done, as most do in a large model whose work is spread over many blocks. A model of this size that is trained whole
works in its first blocks and hardly notices merging.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from digits_data import ATTRIBUTION, Batch, Recipe, batches, draw, split_digits
from numpy.typing import NDArray
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model import stage
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.schedules import largest_level, make_schedule
from janus_vit.sources.scenes import STYLE, SceneStyle

NAME = "janus-digits"
DATA = Path("src/janus_vit/data")
ARCHITECTURE = Architecture(
    image_size=STYLE.size,
    patch_size=8,
    width=96,
    depth=12,
    heads=12,
    mlp_width=384,
    classes=10,
    pooling="mean",
    prefix=0,
    stem="conv",
)
SHAPE = ModelShape(
    NAME,
    ARCHITECTURE.depth,
    ARCHITECTURE.tokens,
    ARCHITECTURE.prefix,
    ARCHITECTURE.width,
    ARCHITECTURE.input_shape,
)
_REPORT = 100  # steps between two lines of the log
_FRESH = 256  # training scenes that only the log's accuracies are measured on


def normalise(grey: NDArray[np.uint8], recipe: Recipe) -> Tensor:
    """Grey [B, S, S] to model inputs [B, 3, S, S]."""
    pixels = (torch.from_numpy(grey).float() / 255 - recipe.mean) / recipe.std
    return pixels[:, None].expand(-1, 3, -1, -1)


def forward(model: VisionTransformer, pixels: Tensor, merges: tuple[int, ...]) -> Tensor:
    """Logits [B, classes]."""
    start = stage.embed(model, pixels, merges, NAME)
    return stage.head(model, stage.run_blocks(model, start, len(model.blocks)))


def grow(young: VisionTransformer, architecture: Architecture, seed: int) -> VisionTransformer:
    """The full model that computes what the young one does: its new first blocks add nothing yet."""
    torch.manual_seed(seed + 1)
    model = VisionTransformer(architecture)
    new = len(model.blocks) - len(young.blocks)
    state = model.state_dict()
    state |= {name: value for name, value in young.state_dict().items() if not name.startswith("blocks.")}
    for index, block in enumerate(young.blocks):
        state |= {f"blocks.{new + index}.{name}": value for name, value in block.state_dict().items()}
    for index in range(new):
        for name in ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"):
            state[f"blocks.{index}.{name}"] = torch.zeros_like(state[f"blocks.{index}.{name}"])
    model.load_state_dict(state)
    return model


def start_model(architecture: Architecture, recipe: Recipe) -> VisionTransformer:
    """Fresh weights; what a block adds starts small."""
    torch.manual_seed(recipe.seed)
    model = VisionTransformer(replace(architecture, depth=recipe.young_depth))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
                weight.mul_((2 * recipe.young_depth) ** -0.5)
    return model


def make_optimizer(model: VisionTransformer, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW that decays matrices only."""
    matrices = [p for name, p in model.named_parameters() if p.ndim > 1 and name != "pos_embed"]
    others = [p for name, p in model.named_parameters() if p.ndim <= 1 or name == "pos_embed"]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))


class Log:
    """Lines that are shown and kept."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.lines: list[str] = []
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the log began."""
        return time.monotonic() - self._start

    def __call__(self, text: str) -> None:
        """Show and keep a line."""
        self.lines.append(f"{self.seconds:7.1f} s  {text}")
        self.progress.console.print(self.lines[-1], highlight=False, soft_wrap=True)


class Tally:
    """Loss and accuracy since the last report."""

    def __init__(self) -> None:
        self.seen, self.hits, self.loss = 0, 0, 0.0

    def add(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Count a batch."""
        self.seen += len(labels)
        self.hits += int((logits.argmax(1) == labels).sum())
        self.loss += float(loss.detach()) * len(labels)

    def __str__(self) -> str:
        return f"loss {self.loss / self.seen:.3f}  accuracy {self.hits / self.seen:.3f}"


def train(recipe: Recipe, log: Log) -> VisionTransformer:
    """The running mean of the weights when the time is over."""
    model = start_model(ARCHITECTURE, recipe)
    mean_model = copy.deepcopy(model)
    optimizer = make_optimizer(model, recipe)
    bar = log.progress.add_task("training", total=1.0)
    digits, rng = split_digits(recipe)[0], np.random.default_rng((recipe.seed, 5))
    fresh = draw(digits, rng.integers(0, len(digits.labels), _FRESH), rng)
    tally, begin = Tally(), log.seconds
    for step, batch in enumerate(batches(recipe)):
        done = (log.seconds - begin) / (60 * recipe.minutes)
        if done >= 1:
            log(f"{step} steps in {log.seconds - begin:.0f} s")
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step, done)
        train_step(model, optimizer, normalise(batch.grey, recipe), torch.from_numpy(batch.labels), recipe, tally)
        update_mean(mean_model, model, min(recipe.average, step / (step + 20)))
        log.progress.update(bar, completed=done)
        if (step + 1) % _REPORT == 0:
            log(f"step {step + 1:5d}  blocks {len(model.blocks):2d}  {tally}")
            tally = Tally()
        if (step + 1) % (5 * _REPORT) == 0:
            log(f"fresh training scenes: {report_merging(grow(mean_model, ARCHITECTURE, recipe.seed), fresh, recipe)}")
    return grow(mean_model, ARCHITECTURE, recipe.seed)


def train_step(
    model: VisionTransformer,
    optimizer: torch.optim.Optimizer,
    pixels: Tensor,
    labels: Tensor,
    recipe: Recipe,
    tally: Tally,
) -> None:
    """One step down the gradient."""
    logits = forward(model, pixels, (0,) * len(model.blocks))
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.smoothing)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    tally.add(logits, labels, loss)


@torch.no_grad()
def update_mean(mean_model: VisionTransformer, model: VisionTransformer, keep: float) -> None:
    """Move the mean weights towards the current ones."""
    for mean, now in zip(mean_model.parameters(), model.parameters(), strict=True):
        mean.lerp_(now, 1 - keep)


def draw_frames(recipe: Recipe, style: SceneStyle) -> Batch:
    """Held-out frames: every test digit about equally often."""
    test, rng = split_digits(recipe)[1], np.random.default_rng((recipe.seed, 3))
    return draw(test, np.resize(rng.permutation(len(test.labels)), recipe.frames), rng, style)


@torch.inference_mode()
def count_correct(model: VisionTransformer, frames: Batch, recipe: Recipe, level: float) -> int:
    """Frames that the model reads right at a level of the exponential schedule."""
    merges = make_schedule("exponential", level, SHAPE).applied
    correct = 0
    for start in range(0, len(frames.labels), recipe.batch):
        pixels = normalise(frames.grey[start : start + recipe.batch], recipe)
        logits = forward(model, pixels, merges)
        correct += int((logits.argmax(1).numpy() == frames.labels[start : start + recipe.batch]).sum())
    return correct


def report_merging(model: VisionTransformer, frames: Batch, recipe: Recipe) -> str:
    """Accuracy without and with the most merging."""
    most = largest_level("exponential", SHAPE)
    shares = [count_correct(model, frames, recipe, level) / len(frames.labels) for level in (0.0, most)]
    return f"accuracy {shares[0]:.3f} without merging, {shares[1]:.3f} at level {most:.2f}"


def save(model: VisionTransformer, frames: Batch, recipe: Recipe, log: Log, folder: Path) -> None:
    """Write checkpoint, provenance and log."""
    stored = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in stored.items()})  # what is stored is what is tested
    correct = count_correct(model, frames, recipe, 0.0)
    log(f"{correct} of {len(frames.labels)} held-out frames right without merging; total {log.seconds:.0f} s")
    about: dict[str, object] = {
        "command": shlex.join(["python", *sys.argv]),
        "seed": recipe.seed,
        "accuracy": correct / len(frames.labels),
        "frames": len(frames.labels),
        "attribution": ATTRIBUTION,
    }
    colour = (recipe.mean,) * 3, (recipe.std,) * 3
    labels = tuple(str(label) for label in range(ARCHITECTURE.classes))
    metadata = checkpoint_metadata(ARCHITECTURE, Preprocessing(ARCHITECTURE.image_size, *colour), labels, about)
    save_file(stored, folder / f"{NAME}.safetensors", metadata)
    (folder / f"{NAME}.safetensors").chmod(0o644)
    text = json.dumps(provenance(recipe, about, log), indent=1)
    (folder / f"{NAME}.json").write_text(text + "\n", encoding="utf-8")
    (folder / f"{NAME}-training.log").write_text("\n".join(log.lines) + "\n", encoding="utf-8")


def provenance(recipe: Recipe, about: dict[str, object], log: Log) -> dict[str, object]:
    """All that is needed to make the files again."""
    train_digits, test_digits = split_digits(recipe)
    return {
        "schema": "janus-vit/provenance/1",
        **about,
        "training_seconds": round(log.seconds),
        "threads": torch.get_num_threads(),
        "recipe": asdict(recipe),
        "architecture": asdict(ARCHITECTURE),
        "scenes": asdict(STYLE),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "train_digits": train_digits.indices.tolist(),
        "test_digits": test_digits.indices.tolist(),
    }


def main() -> None:
    """Train, test and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of split, scenes and weights (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=9.0, help="length of the training (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=DATA, help="where the files go (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(seed=arguments.seed, minutes=arguments.minutes)
    with Progress() as progress:
        log = Log(progress)
        log(f"command: {shlex.join(['python', *sys.argv])}")
        for part in (recipe, ARCHITECTURE, STYLE):
            log(str(part))
        model = train(recipe, log)
        frames = draw_frames(recipe, STYLE)
        save(model, frames, recipe, log, arguments.output)


if __name__ == "__main__":
    main()
