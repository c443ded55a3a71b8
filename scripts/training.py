"""Train a small Vision Transformer on a task. Knows neither digits nor clips, and writes no files.

Only the model's last blocks are trained, which is several times faster. Then the model grows: blocks that compute
nothing (Chen et al., "Net2Net", ICLR 2016) are put before the trained ones. In the grown model tokens merge before any
work is done, as most tokens do in a large model whose work is spread over many blocks. A small model that is trained as
a whole works in its first blocks and hardly notices merging.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F
from training_task import Recipe, Samples, Task

from janus_vit.model import stage
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.schedules import largest_level, make_schedule

_REPORT_STEPS = 100  # between two lines of the log
_FRESH = 256  # training samples for the accuracies in the log


class Log:
    """Lines that are shown and kept.

    Args:
        progress: the progress bar below which the lines are shown.

    Attributes:
        progress: the progress bar.
        lines: all lines so far.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.lines: list[str] = []
        self._start_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the log began."""
        return time.monotonic() - self._start_s

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


def train(task: Task, recipe: Recipe, log: Log) -> VisionTransformer:
    """Train for `recipe.minutes`, and return the grown model with the running mean of the weights."""
    model = start_model(task.architecture, recipe)
    mean_model = copy.deepcopy(model)
    optimizer = make_optimizer(model, recipe)
    bar = log.progress.add_task("training", total=1.0)
    fresh = task.fresh(recipe, _FRESH)
    tally, begin_s = Tally(), log.seconds
    for step, batch in enumerate(task.batches(recipe)):
        done = (log.seconds - begin_s) / (60 * recipe.minutes)
        if done >= 1:
            log(f"{step} steps in {log.seconds - begin_s:.0f} s")
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step, done)
        pixels, labels = task.normalise(batch.pixels, recipe), torch.from_numpy(batch.labels)
        train_step(model, optimizer, pixels, labels, recipe, tally)
        update_mean(mean_model, model, min(recipe.average, step / (step + 20)))
        log.progress.update(bar, completed=done)
        if (step + 1) % _REPORT_STEPS == 0:
            log(f"step {step + 1:5d}  blocks {len(model.blocks):2d}  {tally}")
            tally = Tally()
        if (step + 1) % (5 * _REPORT_STEPS) == 0:
            grown = grow(mean_model, task.architecture, recipe.seed)
            log(f"fresh training {task.samples_name}: {report_merging(grown, fresh, task, recipe)}")
    return grow(mean_model, task.architecture, recipe.seed)


def start_model(architecture: Architecture, recipe: Recipe) -> VisionTransformer:
    """Make a model of `recipe.young_depth` blocks with random weights. Residual branches start small."""
    torch.manual_seed(recipe.seed)
    model = VisionTransformer(replace(architecture, depth=recipe.young_depth))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
                weight.mul_((2 * recipe.young_depth) ** -0.5)
    return model


def make_optimizer(model: VisionTransformer, recipe: Recipe) -> torch.optim.Optimizer:
    """Make an AdamW optimizer that decays only matrices."""
    matrices = [p for name, p in model.named_parameters() if p.ndim > 1 and name != "pos_embed"]
    others = [p for name, p in model.named_parameters() if p.ndim <= 1 or name == "pos_embed"]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))


def train_step(
    model: VisionTransformer,
    optimizer: torch.optim.Optimizer,
    pixels: Tensor,
    labels: Tensor,
    recipe: Recipe,
    tally: Tally,
) -> None:
    """Update the weights with one batch, without merging."""
    logits = forward(model, pixels, (0,) * len(model.blocks))
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.smoothing)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    tally.add(logits, labels, loss)


def forward(model: VisionTransformer, pixels: Tensor, merges: tuple[int, ...]) -> Tensor:
    """Compute logits [B, classes]."""
    start = stage.embed(model, pixels, merges, "training")
    return stage.head(model, stage.run_blocks(model, start, len(model.blocks)))


@torch.no_grad()
def update_mean(mean_model: VisionTransformer, model: VisionTransformer, keep: float) -> None:
    """Move the mean weights towards the current ones."""
    for mean, now in zip(mean_model.parameters(), model.parameters(), strict=True):
        mean.lerp_(now, 1 - keep)


def grow(young: VisionTransformer, architecture: Architecture, seed: int) -> VisionTransformer:
    """Return the full model that computes what the young one does. Its new first blocks add nothing."""
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


@torch.inference_mode()
def count_correct(model: VisionTransformer, samples: Samples, task: Task, recipe: Recipe, level: float) -> int:
    """Count the samples that the model classifies correctly at a level of the exponential schedule."""
    merges = make_schedule("exponential", level, task.shape).applied
    correct = 0
    for start in range(0, len(samples.labels), recipe.batch):
        logits = forward(model, task.normalise(samples.pixels[start : start + recipe.batch], recipe), merges)
        correct += int((logits.argmax(1).numpy() == samples.labels[start : start + recipe.batch]).sum())
    return correct


def report_merging(model: VisionTransformer, samples: Samples, task: Task, recipe: Recipe) -> str:
    """Describe the accuracy without merging and with the most merging."""
    most = largest_level("exponential", task.shape)
    shares = [count_correct(model, samples, task, recipe, level) / len(samples.labels) for level in (0.0, most)]
    return f"accuracy {shares[0]:.3f} without merging, {shares[1]:.3f} at level {most:.2f}"
