"""Runs configurations of a model on many frames and counts how often their answers are right, or agree.

Every payload goes through the real wire format. `agreement` says when two answers agree.

Frames run in batches; an answer does not depend on the batch. Payloads at the same split share the blocks before it:
their activations are kept if they fit in memory.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from janus_vit.calibration.agreement import agreements, comparable, divergences, spread_of
from janus_vit.errors import InputError
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.preprocessing import Frame
from janus_vit.model.stage import Activation, join_frames, split_frames
from janus_vit.model.tasks import CLASSIFY, REGRESS
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.payloads import LOCAL, PayloadFormat, parse_payload
from janus_vit.planning.schedules import Schedule
from janus_vit.sources.frames import Source
from janus_vit.wire.activations import SentTokens, decode_activation, encode_activation
from janus_vit.wire.inputs import decode_input, encode_input

_BATCH_TOKENS = 2048  # enough to keep the CPU busy, few enough for its caches
_LARGEST_BATCH = 64
_KEPT_BYTES = 512 * 2**20  # limit of activations that are kept for the next payload at the same split


@dataclass(frozen=True, slots=True)
class Configuration:
    """How frames are run.

    Attributes:
        schedule: how many tokens merge in each block.
        split: blocks on the device.
        payload: format in which the input or the tokens are sent; `LOCAL` sends nothing.
    """

    schedule: Schedule
    split: int
    payload: str

    def __str__(self) -> str:
        where = "no payload" if self.payload == LOCAL else f"split {self.split}, {self.payload}"
        return f"{self.schedule.family} {self.schedule.level:g}, {where}"


class Evaluator:
    """Holds frames in memory, and runs configurations on them.

    Args:
        model: the model that is measured.
        engine: runs the model.
        source: read once; frames are kept as the model sees them, [image_size, image_size, 3] bytes each.
        on_read: called after each frame with the number of frames read.

    Raises:
        InputError: there are no frames.
    """

    def __init__(
        self, model: Model, engine: Engine, source: Source, on_read: Callable[[int], None] = lambda count: None
    ) -> None:
        self._model, self._engine = model, engine
        self._images: list[Frame] = []
        labels: list[int | None] = []
        for sample in source:
            self._images.append(model.preprocessing.crop(sample.frame))
            labels.append(sample.label)
            on_read(len(labels))
        if not self._images:
            raise InputError("there is no frame to measure on: choose another source")
        self.labels = None if None in labels or model.task != CLASSIFY else np.array(labels)
        shape = model.shape
        self._unmerged = (0,) * shape.blocks
        self._batch = max(1, min(_BATCH_TOKENS // shape.tokens, _LARGEST_BATCH))
        self._references: dict[int, Tensor] = {}  # first frame of a batch -> the unmerged model's outputs, comparable
        self._at_split: dict[int, Activation] = {}  # first frame of a batch -> activation at the split
        self._at_split_of: tuple[tuple[int, ...], int] | None = None  # merges and split of these activations

    @property
    def images(self) -> Sequence[Frame]:
        """The frames as the model sees them."""
        return self._images

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self._images)

    @property
    def digest(self) -> str:
        """Hash of frames and labels."""
        digest = hashlib.sha256(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        for image in self._images:
            digest.update(image.tobytes())
        return digest.hexdigest()[:16]

    def run(
        self,
        configuration: Configuration,
        give_up: Callable[[Point], bool] = lambda point: False,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Point:
        """Measure one configuration.

        Args:
            configuration: how to run the frames.
            give_up: called after a quarter and after half of the frames with the point so far; True stops there.
            progress: called with the share that is done.
        """
        point = _empty_point(configuration, self.labels is not None)
        checks = [-(-self.frames // 4), -(-self.frames // 2)]
        for start in range(0, self.frames, self._batch):
            outputs, sizes = self._run_batch(configuration, start)
            point = self._add_batch(point, start, outputs, sizes)
            progress(point.frames / self.frames)
            if checks and point.frames >= checks[0]:
                checks.pop(0)
                if give_up(point):
                    break
        return point

    def _add_batch(self, so_far: Point, start: int, outputs: Tensor, sizes: list[int]) -> Point:
        """Add a batch to a point: outputs [B, D] of the frames from `start`, and payload bytes of each."""
        task, references = self._model.task, self._all_references
        answers = comparable(outputs, task)
        spread = spread_of(references) if task == REGRESS else 1.0
        divergence = divergences(self._reference(start), answers, task, spread)
        agreeing = agreements(references, answers, start, task).sum().item()
        before, frames = so_far.frames, so_far.frames + len(answers)
        right = so_far.right
        if self.labels is not None and right is not None:
            right += int((answers.argmax(1).numpy() == self.labels[start : start + len(answers)]).sum())
        return replace(
            so_far,
            frames=frames,
            agreeing=so_far.agreeing + agreeing,
            right=right,
            kl=(so_far.kl * before + float(divergence.clamp_min(0.0).sum())) / frames,
            size_bytes=(so_far.size_bytes * before + sum(sizes)) / frames,
        )

    @cached_property
    def _all_references(self) -> Tensor:
        """Comparable outputs of the unmerged model for all frames, [N, D]."""
        starts = range(0, self.frames, self._batch)
        joined = torch.cat([self._reference(start) for start in starts])
        self._references = {start: joined[start : start + self._batch] for start in starts}  # views, to save memory
        return joined

    def _reference(self, start: int) -> Tensor:
        if start not in self._references:
            output = self._finish(self._engine.embed(self._pixels(start), self._unmerged))
            self._references[start] = comparable(output, self._model.task)
        return self._references[start]

    def _run_batch(self, configuration: Configuration, start: int) -> tuple[Tensor, list[int]]:
        """Return the model's outputs [B, D] for the batch from `start`, and the payload bytes of each frame."""
        merges = configuration.schedule.applied
        if configuration.payload == LOCAL:
            if merges == self._unmerged:
                return self._reference(start), [0]
            return self._finish(self._engine.embed(self._pixels(start), merges)), [0]
        payload = parse_payload(configuration.payload)
        if payload.of_tokens:
            activation, sizes = self._through_wire(self._run_to_split(configuration, start), payload)
            return self._finish(activation), sizes
        normalise, shape = self._model.preprocessing.normalise, self._model.shape.input_shape
        bodies = [encode_input(image, payload, normalise) for image in self._images[start : start + self._batch]]
        pixels = torch.cat([decode_input(body, payload, shape, normalise) for body in bodies])
        return self._finish(self._engine.embed(pixels, merges)), [len(body) for body in bodies]

    def _through_wire(self, activation: Activation, payload: PayloadFormat) -> tuple[Activation, list[int]]:
        """Encode and decode each frame's activation; return what arrives, and the bytes of each frame."""
        sent = SentTokens(activation.next_block, activation.tokens.shape[1], activation.tap_tokens, payload)
        settings = sent, self._model.shape, activation.merges, activation.fingerprint
        bodies = [encode_activation(frame, payload) for frame in split_frames(activation)]
        received = [decode_activation(body, *settings, largest=math.inf) for body in bodies]
        return join_frames(received), [len(body) for body in bodies]

    def _run_to_split(self, configuration: Configuration, start: int) -> Activation:
        """Run the blocks before the split, or return the kept activation."""
        schedule, split = configuration.schedule, configuration.split
        if self._at_split_of != (schedule.applied, split):
            self._at_split_of, self._at_split = (schedule.applied, split), {}
        if start in self._at_split:
            return self._at_split[start]
        activation = self._engine.run(self._engine.embed(self._pixels(start), schedule.applied), split)
        if 4 * self.frames * activation.tokens.shape[1] * self._model.shape.width <= _KEPT_BYTES:
            self._at_split[start] = activation
        return activation

    def _pixels(self, start: int) -> Tensor:
        images = self._images[start : start + self._batch]
        return torch.cat([self._model.preprocessing.normalise(image) for image in images])

    def _finish(self, activation: Activation) -> Tensor:
        return self._engine.head(self._engine.run(activation, self._model.shape.blocks))


def _empty_point(configuration: Configuration, labelled: bool) -> Point:
    schedule = configuration.schedule
    return Point(
        schedule.family,
        schedule.level,
        schedule.applied,
        configuration.split,
        configuration.payload,
        frames=0,
        agreeing=0,
        right=0 if labelled else None,
    )
