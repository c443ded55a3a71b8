"""The device's part of a frame, as a protocol. Imports neither torch nor a network library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from janus_vit.planning.outcome import Answer
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import ModelShape, Plan
from janus_vit.planning.schedules import make_schedule


@dataclass(frozen=True, slots=True)
class EncodedPayload:
    """A payload and its shape.

    Attributes:
        body: bytes to send.
        tokens: number of tokens; 0 for an image.
        width: values in one token; 0 for an image.
        tap_tokens: number of tokens of each earlier block that a dense head reads.
    """

    body: bytes
    tokens: int
    width: int
    tap_tokens: tuple[int, ...] = ()


class Worker(Protocol):
    """Runs the parts of a frame on the device.

    The result of `compute` is opaque: the device passes it on to `encode` and `finish`.
    """

    fingerprint: str

    def prepare(self, frame: Any) -> Any:
        """Convert a camera frame to the model's input size."""

    def compute(self, prepared: Any, plan: Plan) -> Any:
        """Run the blocks before the split: none at split 0, all of them and the head in a local plan."""

    def encode(self, state: Any, plan: Plan) -> EncodedPayload:
        """Encode what crosses the network."""

    def finish(self, state: Any, plan: Plan) -> Answer:
        """Run the remaining blocks and the head on the device, with the merges of `plan.finishing`."""

    def finish_in_steps(self, state: Any, plan: Plan) -> Iterator[Answer | None]:
        """Do the same as `finish`, a step at a time: yield None after each step, and the answer after the last one."""


def warm_up(worker: Worker, shape: ModelShape) -> None:
    """Run one black frame, so that the first real frame does not pay for memory and thread pools."""
    schedule = make_schedule("fixed", 1.0, shape)
    size = shape.input_shape[1:]
    plan = Plan(schedule.family, schedule.level, schedule.applied, split=shape.blocks + 1, payload=LOCAL)
    prepared = worker.prepare(np.zeros((*size, 3), np.uint8))
    worker.finish(worker.compute(prepared, plan), plan)
