"""Runs configurations on many frames, every payload through the real wire formats, and counts what their answers cost.

An embedding agrees with the unmerged model if, of all frames' unmerged vectors, its own frame's is the nearest: what a
search would find. Its divergence is 1 - cosine similarity.

One batch at a time; where nothing merges between frames, a frame's answer does not depend on its batch. What several
payloads share, the blocks before their split, is run once where it fits in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from janus_vit.errors import InputError
from janus_vit.model.catalog import Model
from janus_vit.model.checkpoints.reader import EMBED
from janus_vit.model.engines.base import Engine
from janus_vit.model.preprocessing import Frame
from janus_vit.model.stage import Activation
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.payloads import LOCAL, PayloadFormat, parse_payload
from janus_vit.planning.schedules import Schedule
from janus_vit.sources.frames import Source
from janus_vit.wire.inputs import decode_input, encode_input
from janus_vit.wire.tokens import decode_tokens, encode_tokens

_TOKENS = 2048  # in a batch: enough to keep the processor busy, little enough for its caches
_LARGEST_BATCH = 64
_PREFIX_BYTES = 512 * 2**20  # of activations that are kept for the next payload at the same split


@dataclass(frozen=True, slots=True)
class Configuration:
    """How frames are run: a schedule, and what crosses the network where."""

    schedule: Schedule
    split: int
    payload: str

    def __str__(self) -> str:
        where = "nothing lost" if self.payload == LOCAL else f"split {self.split}, {self.payload}"
        return f"{self.schedule.family} {self.schedule.level:g}, {where}"


class Trials:
    """Frames that are ready to be run, and the unmerged model's answers to them.

    Args:
        source: read once; frames are kept as the model sees them, [image_size, image_size, 3] bytes each.
        read: told how many frames were read.

    Raises:
        InputError: there are no frames.
    """

    def __init__(
        self, model: Model, engine: Engine, source: Source, read: Callable[[int], None] = lambda count: None
    ) -> None:
        self._model, self._engine = model, engine
        self._images: list[Frame] = []
        labels: list[int | None] = []
        for sample in source:
            self._images.append(model.preprocessing.crop(sample.frame))
            labels.append(sample.label)
            read(len(labels))
        if not self._images:
            raise InputError("there is no frame to measure on: choose another source")
        self.labels = None if None in labels or model.task == EMBED else np.array(labels)
        shape = model.shape
        self._unmerged = (0,) * shape.blocks
        self._batch = max(1, min(_TOKENS // shape.tokens, _LARGEST_BATCH))
        self._references: dict[int, Tensor] = {}  # first frame of a batch -> log-probabilities [B, classes]
        self._prefixes: dict[int, Activation] = {}  # the same of activations at one split, of one schedule
        self._prefix_of: tuple[tuple[int, ...], int] | None = None

    @property
    def images(self) -> Sequence[Frame]:
        """The frames as the model sees them."""
        return self._images

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self._images)

    @property
    def digest(self) -> str:
        """Identity of frames and labels."""
        digest = hashlib.sha256(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        for image in self._images:
            digest.update(image.tobytes())
        return digest.hexdigest()[:16]

    def run(
        self,
        configuration: Configuration,
        hopeless: Callable[[Point], bool] = lambda point: False,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Point:
        """Measure one configuration.

        Args:
            hopeless: asked after a quarter and a half of the frames whether to stop there. progress: share done.
        """
        point = _nothing(configuration, self.labels is not None)
        looks = [-(-self.frames // 4), -(-self.frames // 2)]
        for start in range(0, self.frames, self._batch):
            logits, sizes = self._answers(configuration, start)
            point = self._counted(point, start, logits, sizes)
            progress(point.frames / self.frames)
            if looks and point.frames >= looks[0]:
                looks.pop(0)
                if hopeless(point):
                    break
        return point

    def _counted(self, so_far: Point, start: int, logits: Tensor, sizes: list[int]) -> Point:
        reference, answers = self._reference(start), self._comparable(logits)
        if self._model.task == EMBED:
            divergence, agreeing = 1 - (reference * answers).sum(1), self._found_again(answers, start)
        else:
            divergence = (reference.exp() * (reference - answers)).sum(1)
            agreeing = int((answers.argmax(1) == reference.argmax(1)).sum())
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

    def _found_again(self, vectors: Tensor, start: int) -> int:
        """How many vectors [B, D] are nearest to their own frame's unmerged one; equal frames count as one."""
        every = torch.cat([self._reference(first) for first in range(0, self.frames, self._batch)])
        similarity = vectors @ every.T
        own = similarity[torch.arange(len(vectors)), torch.arange(start, start + len(vectors))]
        return int((own >= similarity.max(1).values - 1e-6).sum())

    def _comparable(self, output: Tensor) -> Tensor:
        """Log-probabilities of logits [B, classes], or embeddings [B, D] of length 1."""
        return normalize(output.double()) if self._model.task == EMBED else output.double().log_softmax(1)

    def _reference(self, start: int) -> Tensor:
        if start not in self._references:
            output = self._finished(self._engine.embed(self._pixels(start), self._unmerged))
            self._references[start] = self._comparable(output)
        return self._references[start]

    def _answers(self, configuration: Configuration, start: int) -> tuple[Tensor, list[int]]:
        """The model's output [B, D] for a batch, and what crossed for each frame in bytes."""
        merges = configuration.schedule.applied
        if configuration.payload == LOCAL:
            if merges == self._unmerged:
                return self._reference(start), [0]
            return self._finished(self._engine.embed(self._pixels(start), merges)), [0]
        payload = parse_payload(configuration.payload)
        if payload.of_tokens:
            activation, sizes = _through_wire(self._prefix(configuration, start), payload)
            return self._finished(activation), sizes
        normalise, shape = self._model.preprocessing.normalise, self._model.shape.input_shape
        bodies = [encode_input(image, payload, normalise) for image in self._images[start : start + self._batch]]
        pixels = torch.cat([decode_input(body, payload, shape, normalise) for body in bodies])
        return self._finished(self._engine.embed(pixels, merges)), [len(body) for body in bodies]

    def _prefix(self, configuration: Configuration, start: int) -> Activation:
        """Everything before the split."""
        schedule, split = configuration.schedule, configuration.split
        if self._prefix_of != (schedule.applied, split):
            self._prefix_of, self._prefixes = (schedule.applied, split), {}
        if start in self._prefixes:
            return self._prefixes[start]
        activation = self._engine.run(self._engine.embed(self._pixels(start), schedule.applied), split)
        if 4 * self.frames * activation.tokens.shape[1] * self._model.shape.width <= _PREFIX_BYTES:
            self._prefixes[start] = activation
        return activation

    def _pixels(self, start: int) -> Tensor:
        images = self._images[start : start + self._batch]
        return torch.cat([self._model.preprocessing.normalise(image) for image in images])

    def _finished(self, activation: Activation) -> Tensor:
        return self._engine.head(self._engine.run(activation, self._model.shape.blocks))


def _nothing(configuration: Configuration, labelled: bool) -> Point:
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


def _through_wire(activation: Activation, payload: PayloadFormat) -> tuple[Activation, list[int]]:
    count, width = activation.tokens.shape[1:]
    each = zip(activation.tokens, activation.sizes, strict=True)
    bodies = [encode_tokens(tokens, sizes, payload) for tokens, sizes in each]
    received = [decode_tokens(body, payload, count, width) for body in bodies]
    tokens, sizes = (torch.stack(parts) for parts in zip(*received, strict=True))
    return replace(activation, tokens=tokens, sizes=sizes), [len(body) for body in bodies]
