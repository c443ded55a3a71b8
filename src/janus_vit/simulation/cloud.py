"""The cloud in virtual time. Knows nothing of links: a request comes in with its time of arrival."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from janus_vit.simulation.costs import Costs
from janus_vit.wire.messages import Request


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """How long the cloud takes for one request, and the load that it reports.

    Attributes:
        decode_s: decoding of the payload.
        queue_s: time that the request waits.
        compute_s: remaining blocks and head.
        expected_queue_s: how long a request that arrives next would wait.
    """

    decode_s: float
    queue_s: float
    compute_s: float
    expected_queue_s: float = 0.0


class SimulatedCloud(Protocol):
    """Serves requests in virtual time."""

    def serve(self, request: Request, arrival_s: float) -> ServiceTimes:
        """Return the times of a request whose last byte arrives at `arrival_s`."""


class IdleCloud:
    """A cloud that serves this device alone and takes as long as its profile says, times noise.

    Args:
        costs: predicted costs of each request.
        queue_s: waiting time of each request.
        noise: called for each request; returns the factor on its compute time.
    """

    def __init__(self, costs: Costs, queue_s: float, noise: Callable[[], float]) -> None:
        self._costs = costs
        self._queue_s = queue_s
        self._noise = noise

    def serve(self, request: Request, arrival_s: float) -> ServiceTimes:
        """See `SimulatedCloud.serve`."""
        costs = self._costs.of_request(request)
        return ServiceTimes(costs.decode_s, self._queue_s, costs.cloud_s * self._noise())
