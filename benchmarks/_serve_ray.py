"""Ray Serve with its own batching; see `serving_peers.py`. Imported only where Ray Serve is installed."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from _serving_peers import PATH, Batching, Classifier, Service, wait_for_end

_KEEP_ALIVE_S = 120  # longer than the pauses of a device
_STORE_BYTES = 100_000_000


class Replica:
    """Decodes and classifies in batches that Ray Serve collects.

    Args:
        service: model and engine.
        batching: settings.
    """

    def __init__(self, service: Service, batching: Batching) -> None:
        serve: Any = importlib.import_module("ray.serve")
        self._classifier = Classifier(service)
        batch = serve.batch(max_batch_size=batching.frames, batch_wait_timeout_s=batching.wait_s)
        self._batched = batch(self._classify)

    async def __call__(self, request: Any) -> dict[str, list[int]]:
        """Answer an HTTP request whose body is a JPEG."""
        return {"classes": await self._batched(await request.body())}

    async def _classify(self, jpegs: list[bytes]) -> list[list[int]]:
        return self._classifier.classify([self._classifier.decode(jpeg) for jpeg in jpegs])


def serve_ray(pipe: Connection, service: Service, batching: Batching) -> None:
    """Serve with one replica. Requests beyond those that can be in time are refused by Ray Serve's own limits."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # the replica imports this file
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray: Any = importlib.import_module("ray")
    serve: Any = importlib.import_module("ray.serve")
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=_STORE_BYTES,
    )
    quiet = {"enable_access_log": False, "log_level": "ERROR"}
    http = {"host": "127.0.0.1", "port": port, "keep_alive_timeout_s": _KEEP_ALIVE_S}
    serve.start(http_options=http, logging_config=quiet)
    deployment = serve.deployment(Replica).options(
        num_replicas=1,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=batching.most_ongoing(service),
        max_queued_requests=1,
        logging_config=quiet,
    )
    serve.run(deployment.bind(service, batching), route_prefix=PATH)
    pipe.send(port)
    wait_for_end(pipe)
    ray.shutdown()
