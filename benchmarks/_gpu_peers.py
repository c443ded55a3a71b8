"""What the GPU's engines are measured against: products as fast as they go, and transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _common import timed_ms
from _engine_models import hide_torchvision
from torch import Tensor

from janus_vit.model.catalog import Model


def product_tflops(device: str, rounds: int) -> float:
    """TFLOP/s of a large product in bfloat16: the limit."""
    rows = 8192 if device == "cuda" else 256
    factor = torch.randn(rows, rows, dtype=torch.bfloat16, device=device)

    def multiply() -> None:
        for _ in range(10):
            factor @ factor
        if device == "cuda":
            torch.cuda.synchronize()

    return 10 * 2 * rows**3 / 1e9 / min(timed_ms(multiply, rounds, 2))


def transformers_bfloat16(model: Model, device: str) -> Callable[[Tensor], Tensor]:
    """A ViT of the same shape with random weights, as transformers runs it."""
    hide_torchvision()
    from transformers import ViTConfig, ViTForImageClassification

    arch = model.network.architecture
    sizes: dict[str, Any] = {"hidden_size": arch.width, "num_hidden_layers": arch.depth}
    sizes |= {"num_attention_heads": arch.heads, "intermediate_size": arch.mlp_width, "num_labels": arch.classes}
    config = ViTConfig(**sizes, image_size=arch.image_size, patch_size=arch.patch_size)
    network: Any = ViTForImageClassification(config)
    network = network.eval().to(device, torch.bfloat16)
    if network.config._attn_implementation != "sdpa":
        network.set_attn_implementation("sdpa")

    @torch.inference_mode()
    def run(pixels: Tensor) -> Tensor:
        logits: Tensor = network(pixels.to(device, torch.bfloat16)).logits.float().cpu()
        return logits

    return run
