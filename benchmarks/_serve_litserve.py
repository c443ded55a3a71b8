"""LitServe with its own batching; see `serving_peers.py`. Imported only where LitServe is installed.

Annotations are not strings here: LitServe reads those of `decode_request`.
"""

import base64
import json
import logging
import os
import signal
import socket
import threading
from multiprocessing.connection import Connection

import litserve
import torch
from _serving_peers import Batching, Classifier, Service, wait_for_end, wait_until_healthy
from fastapi import Request, Response

_KEEP_ALIVE_S = 120  # longer than the pauses of a device


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Decodes in the worker, as LitServe's documentation advises."""

    def __init__(self, service: Service, batching: Batching) -> None:
        super().__init__(max_batch_size=batching.frames, batch_timeout=batching.wait_s)
        self._service = service

    def setup(self, device: str) -> None:
        """Load the model in the worker's process, whose log would take time from serving."""
        logging.getLogger("litserve").setLevel(logging.CRITICAL)
        self._classifier = Classifier(self._service)

    def decode_request(self, request: Request) -> torch.Tensor:
        """Decode the JPEG in a JSON body."""
        return self._classifier.decode(base64.b64decode(request["image"]))

    def predict(self, x: torch.Tensor) -> list[int]:
        """Classify one frame."""
        return self._classifier.classify([x])[0]

    def encode_response(self, output: list[int]) -> Response:
        """Give the classes as JSON."""
        return Response(json.dumps({"classes": output}), media_type="application/json")


class BatchedApi(Api):
    """Classifies batches."""

    def batch(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Leave frames as a list, which the classifier stacks."""
        return inputs

    def predict(self, x: list[torch.Tensor]) -> list[list[int]]:  # type: ignore[override]
        """Classify a batch of frames."""
        return self._classifier.classify(x)

    def unbatch(self, output: list[list[int]]) -> list[list[int]]:
        """Give the answer of each frame."""
        return output


def serve_litserve(pipe: Connection, service: Service, batching: Batching) -> None:
    """Serve with one worker. Requests that wait too long to be in time are dropped by LitServe's own timeout."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threading.Thread(target=_supervise, args=(pipe, port), daemon=True).start()
    api = (BatchedApi if batching.frames > 1 else Api)(service, batching)
    server = litserve.LitServer(
        api, accelerator="cpu", timeout=batching.longest_wait_s(service), disable_openapi_url=True
    )
    server.run(
        host="127.0.0.1",
        port=port,
        log_level="critical",
        access_log=False,
        generate_client_file=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )


def _supervise(pipe: Connection, port: int) -> None:
    """Tell when the server is ready, and stop it in the end."""
    wait_until_healthy(f"http://127.0.0.1:{port}/health")
    pipe.send(port)
    wait_for_end(pipe)
    os.kill(os.getpid(), signal.SIGINT)
