"""A worker that runs a real model on this machine. Knows no network, no policy and no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from janus_vit.model.answers import answer_of
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.preprocessing import Frame
from janus_vit.model.stage import Activation
from janus_vit.planning.outcome import Answer
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.plan import Plan
from janus_vit.runtime.worker import EncodedPayload
from janus_vit.wire.activations import encode_activation
from janus_vit.wire.inputs import encode_input


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far a frame has been run.

    Attributes:
        image: the prepared frame.
        plan: the frame's plan.
        activation: the frame's tokens after the blocks that have run; None before the first block.
    """

    image: Frame
    plan: Plan
    activation: Activation | None


class LocalWorker:
    """Run frames on this machine; see `Worker`.

    Args:
        model: the model.
        engine: computes the model's blocks.
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        self._model = model
        self._engine = engine
        self._blocks = model.shape.blocks
        self.fingerprint = model.fingerprint

    def prepare(self, frame: Frame) -> Frame:
        """Resize and crop a frame [H, W, 3] uint8 of any size."""
        return self._model.preprocessing.crop(frame)

    def compute(self, prepared: Frame, plan: Plan) -> _Progress:
        """Run the blocks before the split."""
        progress = _Progress(prepared, plan, None)
        return progress if plan.split == 0 else self._run(progress, min(plan.split, self._blocks))

    def encode(self, state: _Progress, plan: Plan) -> EncodedPayload:
        """Encode the tokens, or the image itself at split 0."""
        payload = parse_payload(plan.payload)
        if state.activation is not None:
            body = encode_activation(state.activation, payload)
            return EncodedPayload(
                body, state.activation.tokens.shape[1], self._model.shape.width, state.activation.tap_tokens
            )
        return EncodedPayload(encode_input(state.image, payload, self._model.preprocessing.normalise), 0, 0)

    def finish(self, state: _Progress, plan: Plan) -> Answer:
        """Run the remaining blocks and the head."""
        return self._answer(self._run(_remaining(state, plan), self._blocks))

    def finish_in_steps(self, state: _Progress, plan: Plan) -> Iterator[Answer | None]:
        """Run one block a step. A GPU has computed it when the step ends, so that the next one can be left out."""
        progress = _remaining(state, plan)
        begun = 0 if progress.activation is None else progress.activation.next_block
        for stop in range(begun + 1, self._blocks):
            progress = self._run(progress, stop)
            _await_gpu(progress)
            yield None
        yield self._answer(self._run(progress, self._blocks))

    def _answer(self, state: _Progress) -> Answer:
        assert state.activation is not None
        return answer_of(self._engine.head(state.activation), self._model.task)

    def _run(self, state: _Progress, stop: int) -> _Progress:
        activation = state.activation
        if activation is None:
            pixels = self._model.preprocessing.normalise(state.image)
            activation = self._engine.embed(pixels, state.plan.merges)
        return _Progress(state.image, state.plan, self._engine.run(activation, stop))


def _remaining(state: _Progress, plan: Plan) -> _Progress:
    """The progress with the merges of the plan's fallback."""
    activation = state.activation and replace(state.activation, merges=plan.finishing)
    return _Progress(state.image, plan.rescued, activation)


def _await_gpu(progress: _Progress) -> None:
    if progress.activation is not None and progress.activation.tokens.is_cuda:
        torch.cuda.synchronize(progress.activation.tokens.device)
