"""What the precision of a GPU costs in accuracy: the built-in model's answers, beside eager in float32."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from janus_vit.model.catalog import load_model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.gpu.arithmetic import plain_arithmetic
from janus_vit.model.engines.gpu.engine import CudaEngine, CudaFloat32Engine
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.sources.builtin import builtin_frames

_BATCH = 50


def accuracy_rows(device: str, frames: int) -> Iterator[dict[str, object]]:
    """A row for each level and engine: how many frames are right, and how many are answered as eager answers.

    Args:
        device: "cuda", or "cpu", where the same is computed in plain PyTorch.
        frames: built-in frames, at most.
    """
    model = load_model()
    images, labels = builtin_frames()
    pixels = torch.cat([model.preprocessing.normalise(model.preprocessing.crop(each)) for each in images[:frames]])
    truth = torch.tensor(labels[:frames])
    wide = plain_arithmetic(model.network.architecture, torch.bfloat16, torch.float32)
    engines: dict[str, Engine] = {
        "eager": EagerEngine(model),
        "cuda-f32": CudaFloat32Engine(model, device=device),
        "f32 residual": CudaEngine(model, device=device, arithmetic=wide),
        "cuda": CudaEngine(model, device=device),
    }
    found = levels("exponential", model.shape)
    for level in (found[0], found[len(found) // 3], found[2 * len(found) // 3], found[-1]):
        merges = make_schedule("exponential", level, model.shape).applied
        answers = {name: _answers(engine, pixels, merges) for name, engine in engines.items()}
        for name, given in answers.items():
            right, alike = (given == truth).float().mean(), (given == answers["eager"]).float().mean()
            row = {"level": level, "engine": name, "frames": len(truth)}
            yield row | {"right %": round(100 * float(right), 1), "as eager %": round(100 * float(alike), 1)}


def _answers(engine: Engine, pixels: Tensor, merges: tuple[int, ...]) -> Tensor:
    parts = [engine.embed_batch(part, [merges] * len(part)) for part in torch.split(pixels, _BATCH)]
    return torch.cat([engine.head_batch(engine.run_batch(part, len(merges))) for part in parts]).argmax(dim=1)
