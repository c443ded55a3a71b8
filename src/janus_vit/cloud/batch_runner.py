"""Run one scheduled batch on the engine: frames in, activations or answers out. Knows no clock, queue or network.

A failing frame does not fail its batch. A batch that runs out of memory is halved and tried again; a batch that fails
for another reason runs again frame by frame; an answer that is not finite fails only its own frame.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from janus_vit.cloud.backend import Frame, Start
from janus_vit.errors import JanusError, Rejected, WireError
from janus_vit.model.answers import answers_of, are_finite
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.stage import Activation
from janus_vit.planning.outcome import Answer

_LOG = logging.getLogger("janus_vit.cloud")
Step: TypeAlias = Activation | Answer | JanusError


class BatchRunner:
    """Advances frames by a segment of blocks.

    Args:
        model: the model that the cloud serves.
        engine: runs the model.
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        self._model = model
        self._engine = engine

    def warm_up(self) -> None:
        """Run one empty frame, so that the first real one does not pay for memory, kernels and thread pools."""
        channels, *dimensions = self._model.shape.input_shape
        pixels = torch.zeros(*dimensions, channels, dtype=torch.uint8)
        self.run([Frame(pixels, (0,) * self._model.shape.blocks)], self._model.shape.blocks)

    @torch.inference_mode()
    def upload(self, start: Start) -> Start:
        """Copy a frame to the engine's device, so that its batch need not wait for the copy. For any thread."""
        if isinstance(start, Frame):
            return replace(start, pixels=self._engine.upload(start.pixels))
        return replace(start, tokens=self._engine.upload(start.tokens), sizes=self._engine.upload(start.sizes))

    @torch.inference_mode()
    def run(self, starts: Sequence[Start], stop: int) -> list[Step]:
        """Run frames that are at the same block up to block `stop`.

        Args:
            starts: decoded payloads, or activations of the previous segment.
            stop: number of the first block that does not run; after the last block the head runs too.

        Returns:
            For each frame its activation at `stop`, its answer, or its error.
        """
        try:
            return self._run(starts, stop)
        except JanusError as error:
            if len(starts) == 1:
                return [error]
        except torch.OutOfMemoryError as error:
            if len(starts) == 1:
                _LOG.error("the engine failed", exc_info=error)
                return [Rejected("the engine is out of memory for a single frame: try again later")]
            middle = len(starts) // 2
            return self.run(starts[:middle], stop) + self.run(starts[middle:], stop)
        except Exception as error:
            if len(starts) == 1:
                _LOG.error("the engine failed", exc_info=error)
                return [Rejected("the engine failed on this request; the cloud's log says why")]
        return [step for start in starts for step in self.run([start], stop)]

    def _run(self, starts: Sequence[Start], stop: int) -> list[Step]:
        activations = self._engine.run_batch(self._embedded(starts), stop)
        if stop < self._model.shape.blocks:
            return list(activations)
        outputs = self._engine.head_batch(activations)
        answers = answers_of(outputs, self._model.task)
        return [answer if good else _not_finite() for answer, good in zip(answers, are_finite(outputs), strict=True)]

    def _embedded(self, starts: Sequence[Start]) -> list[Activation]:
        """Activations of all frames; frames that start from pixels run through the stem together."""
        frames = [start for start in starts if isinstance(start, Frame)]
        if not frames:
            return [start for start in starts if isinstance(start, Activation)]
        embedded = iter(self._engine.embed_batch(self._inputs(frames), [frame.merges for frame in frames]))
        return [start if isinstance(start, Activation) else next(embedded) for start in starts]

    def _inputs(self, frames: Sequence[Frame]) -> Tensor:
        """The model's input [B, 3, ...] of frames that arrived as pixels or as tensors, on the engine's device."""
        if len(frames) == 1:
            return self._input(frames[0].pixels)
        if all(frame.pixels.dtype == torch.uint8 for frame in frames):
            return self._normalised(torch.stack([frame.pixels for frame in frames]))
        return torch.cat([self._input(frame.pixels) for frame in frames])

    def _input(self, pixels: Tensor) -> Tensor:
        is_tensor = pixels.dtype != torch.uint8  # normalised by the device already
        return self._engine.upload(pixels)[None] if is_tensor else self._normalised(pixels[None])

    def _normalised(self, pixels: Tensor) -> Tensor:
        return self._model.preprocessing.normalise_batch(self._engine.upload(pixels))


def _not_finite() -> WireError:
    return WireError("field body gives an answer that is not finite: check the values that the device sends")
