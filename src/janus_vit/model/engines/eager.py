"""The reference engine in plain PyTorch, on any torch device. All other engines must agree with it."""

from __future__ import annotations

import torch
from torch import Tensor

from janus_vit.model import stage
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import OneByOne
from janus_vit.model.stage import Activation
from janus_vit.planning.accuracy.table import FLOAT32


class EagerEngine(OneByOne):
    """Run the model's own modules in float32.

    Args:
        model: the model to run.
        keep_model: has no effect, because the engine runs the weights of the model itself.
        device: the torch device to run on.
    """

    name = "eager"
    precision = FLOAT32

    def __init__(self, model: Model, keep_model: bool = True, device: str = "cpu") -> None:
        self._fingerprint = model.fingerprint
        self._device = torch.device(device)
        self._network = model.network.to(self._device)

    @staticmethod
    def unavailable_reason() -> str | None:
        """Return None: every machine can run this engine."""
        return None

    @torch.inference_mode()
    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """See `Engine.embed`."""
        return stage.embed(self._network, pixels.to(self._device), merges, self._fingerprint)

    @torch.inference_mode()
    def run(self, activation: Activation, stop: int) -> Activation:
        """See `Engine.run`."""
        return stage.run_blocks(self._network, stage.move(activation, self._device), stop)

    @torch.inference_mode()
    def head(self, activation: Activation) -> Tensor:
        """See `Engine.head`."""
        return stage.head(self._network, activation).cpu()
