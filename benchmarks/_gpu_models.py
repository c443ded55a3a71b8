"""Models that the GPU benchmark measures, and a tiny one that only tries its script."""

from __future__ import annotations

import torch

from janus_vit.model.catalog import Model, load_model
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer

TINY = "tiny"


def make_model(name: str) -> Model:
    """The model of that name of the catalog, or the tiny one, with the same random weights in every process."""
    if name != TINY:
        return load_model(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = VisionTransformer(Architecture(64, 8, 48, 6, 3, 96, 10)).eval().requires_grad_(False)
    return Model(TINY, network, Preprocessing(64), tuple("0123456789"))
