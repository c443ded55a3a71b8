"""How a device reaches its cloud, as a protocol. Imports no network library."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from janus_vit.planning.outcome import Transfer
from janus_vit.planning.price import CloudLoad
from janus_vit.wire.messages import Greeting, Reply, Request


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe showed.

    Attributes:
        transfer: of the probe's bytes.
        load: of the cloud; None if it did not answer, or does not report its load.
        refused: why the device refused the reply; None if it did not.
    """

    transfer: Transfer
    load: CloudLoad | None = None
    refused: str | None = None


class Transport(Protocol):
    """Carries requests to one cloud."""

    def hello(self, timeout_s: float) -> Greeting:
        """Ask the cloud which model it serves.

        Raises:
            TransportError: no answer in time.
            WireError: the answer cannot be read.
        """

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """Send a frame to the cloud and return its reply.

        Raises:
            TransportError: no answer in time, or a refusal.
            WireError: the reply cannot be read.
        """

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Probed]:
        """Start sending bytes that only measure the link. The future never raises."""

    def close(self) -> None:
        """Close the connection."""
