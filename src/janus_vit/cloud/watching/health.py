"""Whether a cloud serves, for load balancers (`grpc.health.v1`).

The servicer of grpcio-health-checking tells a watcher its state while it holds a lock. One that reads nothing would
keep all other watchers, and the end of the server, waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from grpc_health.v1.health_pb2 import HealthCheckResponse

from janus_vit.wire.rpc import SERVICE

_SERVICES = ("", SERVICE)  # the server as a whole has no name


class Health:
    """The state of the services of one server process, which serves until `drain`. Lives in one event loop."""

    def __init__(self) -> None:
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Serve no longer."""
        self._draining.set()

    def state(self, service: str) -> HealthCheckResponse:
        """The state of a service, also of one that this server does not know."""
        if service not in _SERVICES:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        serves = HealthCheckResponse.NOT_SERVING if self._draining.is_set() else HealthCheckResponse.SERVING
        return HealthCheckResponse(status=serves)

    async def watch(self, service: str, tell: Callable[[bytes], Awaitable[None]]) -> None:
        """Tell the state of a service now and when it changes, until cancelled."""
        told = self.state(service)
        await tell(told.SerializeToString())
        await self._draining.wait()
        if self.state(service) != told:
            await tell(self.state(service).SerializeToString())
        await asyncio.get_running_loop().create_future()  # a watch that ends would be begun again
