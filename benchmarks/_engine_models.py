"""Models for the engine benchmarks: ViTs of two sizes with random weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from _engine_plans import PATCH

SIZES = {"vit-base-224": (224, 768, 12, 12), "vit-large-384": (384, 1024, 24, 16)}  # image, width, blocks, heads
CLASSES = 1000


def model_names(text: str) -> list[str]:
    """Parse model names separated by commas, for argparse."""
    names = text.split(",")
    if unknown := sorted({*names} - {*SIZES}):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: unknown model, use some of {', '.join(SIZES)}")
    return names


def load_size(folder: str) -> int:
    """Return the height and width of the model's images in pixels."""
    return SIZES[Path(folder).name][0]


def write_checkpoint(folder: Path) -> None:
    """Write random weights and a configuration in the format of transformers."""
    hide_torchvision()
    from transformers import ViTConfig, ViTForImageClassification

    size, width, depth, heads = SIZES[folder.name]
    torch.manual_seed(0)
    settings: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    settings |= {"intermediate_size": 4 * width, "image_size": size, "patch_size": PATCH, "num_labels": CLASSES}
    config = ViTConfig(**settings)
    ViTForImageClassification(config).save_pretrained(folder)


def hide_torchvision() -> None:
    """Keep transformers from importing torchvision: a CUDA build of it fails beside a CPU build of torch."""
    sys.modules.setdefault("torchvision", None)  # type: ignore[arg-type]
