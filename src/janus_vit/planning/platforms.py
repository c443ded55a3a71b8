"""The planner's knowledge of both machines and of the link between them, before the first frame."""

from __future__ import annotations

from dataclasses import dataclass

from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.plan import ModelShape


@dataclass(frozen=True, slots=True)
class Platforms:
    """A device, a cloud and the link between them.

    Attributes:
        shape: shape of the model that both sides run.
        device: latency profile of the device.
        cloud: latency profile of the cloud.
        rate_mbps: uplink rate before any observation, in 10^6 bit/s.
        rtt_s: round trip before any observation.
        accuracy: measured accuracy of the model's configurations; None if nothing was measured.
        images_allowed: False keeps pixels on the device, so that only tokens cross the network.
        entry_blocks: blocks at which frames can join the cloud's batches; empty: every block.
    """

    shape: ModelShape
    device: PlatformProfile
    cloud: PlatformProfile
    rate_mbps: float
    rtt_s: float
    accuracy: AccuracyTable | None = None
    images_allowed: bool = True
    entry_blocks: tuple[int, ...] = ()

    def can_enter(self, split: int) -> bool:
        """Whether a frame with this split point can join the cloud's batches, or needs no cloud."""
        return not self.entry_blocks or split > self.shape.blocks or split in self.entry_blocks
