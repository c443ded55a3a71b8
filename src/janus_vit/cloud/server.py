"""A cloud that devices reach by network: model, service and gRPC server in one object."""

from __future__ import annotations

from types import TracebackType

import grpc

from janus_vit.cloud.grpc_server import start_server
from janus_vit.cloud.service import CloudService
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import engine_for
from janus_vit.model.engines.registry import AUTO
from janus_vit.planning.latency import PlatformProfile
from janus_vit.runtime.connect import warm_up
from janus_vit.runtime.local_worker import LocalWorker


class Cloud:
    """Serves one model to any number of devices until it is closed.

    Args:
        model: what to run. profile: this machine's latency (`janus-vit profile`).
        listen: "host:port"; port 0 picks a free one, see `port`.
        credentials: for TLS; None serves in the clear.
        engine: what runs the model, or its name; default: the fastest that computes in float32.

    Raises:
        InputError: the address cannot be listened on, or the engine cannot be used.
    """

    def __init__(
        self,
        model: Model,
        profile: PlatformProfile,
        listen: str = "127.0.0.1:0",
        credentials: grpc.ServerCredentials | None = None,
        engine: Engine | str = AUTO,
    ) -> None:
        runner = engine_for(model, engine)
        warm_up(LocalWorker(model, runner), model)
        self._service = CloudService(model, runner, profile)
        self._server, self.port = start_server(self._service, listen, credentials)

    def wait(self) -> None:
        """Serve until `close` or an interrupt."""
        self._server.wait_for_termination()

    def close(self) -> None:
        """Finish the running requests, at most for a second, and stop."""
        self._server.stop(grace=1.0).wait()
        self._service.close()

    def __enter__(self) -> Cloud:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
