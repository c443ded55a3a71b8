"""How a request reaches the cloud: the protocol that the device loop sends through."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from janus_vit.planning.outcome import Transfer
from janus_vit.wire.messages import Greeting, Reply, Request


class Transport(Protocol):
    """Carries requests to one cloud."""

    def hello(self, timeout_s: float) -> Greeting:
        """Ask the cloud what it runs.

        Raises:
            TransportError, WireError: no answer, or none that can be read.
        """

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """Let the cloud finish a frame.

        Raises:
            TransportError, WireError: no answer in time, a refusal, or a reply that cannot be read.
        """

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Transfer]:
        """Start sending bytes only to look at the link; the future gives what was seen and never raises."""

    def close(self) -> None:
        """Let go of the connection."""
