"""What the engine benchmark runs: our engines, other runtimes, and the limit of the CPU, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _engine_peers
import torch
from _engine_models import CLASSES, hide_torchvision
from _engine_peers import Runner
from _engine_plans import Merges
from torch import Tensor

from janus_vit.model.catalog import load_model
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.packed_linear import PackedLinear
from janus_vit.model.engines.registry import ENGINES
from janus_vit.planning.accuracy.table import BFLOAT16, FLOAT32, INT8


def transformers_sdpa(folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Runner:
    """transformers with scaled dot product attention, the usual choice."""
    hide_torchvision()
    from transformers import ViTForImageClassification

    model: Any = ViTForImageClassification.from_pretrained(folder, attn_implementation="sdpa")
    model.eval().to(device, dtype)
    return lambda pixels, merges: model(pixels.to(device, dtype)).logits.float().cpu()


def ours(name: str) -> Callable[[Path], Runner]:
    """Return a maker of one of our engines, which releases the model's weights as the commands do."""

    def make(folder: Path) -> Runner:
        model = load_model(str(folder))
        engine, blocks = make_engine(model, name, keep_model=False), model.shape.blocks
        return lambda pixels, merges: engine.head(engine.run(engine.embed(pixels, merges), blocks))

    return make


def packed_product(dtype: torch.dtype) -> Callable[[Path], Runner]:
    """Return a maker of the limit: the first product of an MLP at all tokens, once for each block."""

    def make(folder: Path) -> Runner:
        arch = load_model(str(folder)).network.architecture
        layer = PackedLinear(torch.randn(arch.mlp_width, arch.width), torch.randn(arch.mlp_width), dtype=dtype)
        x = torch.randn(arch.tokens, arch.width).to(dtype)

        def run(pixels: Tensor, merges: Merges) -> Tensor:
            for _ in merges:
                layer(x)
            return torch.zeros(1, CLASSES)

        return run

    return make


PEERS: dict[str, Callable[[Path], Runner]] = {"transformers": transformers_sdpa, **_engine_peers.installed()}
if torch.cuda.is_available():
    PEERS["transformers-cuda-bf16"] = partial(transformers_sdpa, device="cuda", dtype=torch.bfloat16)
OURS = {name: ours(name) for name, spec in ENGINES.items() if spec.installed}
LIMITS = {  # of the CPU, by precision
    ENGINES[name].precision: packed_product(dtype)
    for name, dtype in (("packed", torch.float32), ("packed-bf16", torch.bfloat16))
    if ENGINES[name].runs_here
}
ALWAYS = "transformers", "eager"  # the others are compared with these


def precision_in(name: str) -> str:
    """Return the precision of an engine or a peer."""
    endings = {"-bf16": BFLOAT16, "-int8": INT8}
    if name in ENGINES:
        return ENGINES[name].precision
    return next((endings[ending] for ending in endings if name.endswith(ending)), FLOAT32)
