"""The device's share of a frame as a protocol: prepare, compute, pack, finish. Imports neither torch nor a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from janus_vit.planning.outcome import Answer
from janus_vit.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class EncodedPayload:
    """A payload and its shape; tokens and width are 0 for an image."""

    body: bytes
    tokens: int
    width: int


class Worker(Protocol):
    """Runs a frame's parts on the device. What `compute` gives is handed back to `pack` and `finish` unseen."""

    fingerprint: str

    def prepare(self, frame: Any) -> Any:
        """A camera's frame to what the model sees."""

    def compute(self, prepared: Any, plan: Plan) -> Any:
        """Everything before the hand-over: nothing at split 0, all blocks in a local plan."""

    def encode(self, state: Any, plan: Plan) -> EncodedPayload:
        """The payload that crosses the network."""

    def finish(self, state: Any, plan: Plan) -> Answer:
        """The rest of the frame, on the device, from where it stands, merging as the plan's `finishing` says."""
