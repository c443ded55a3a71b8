"""A cloud in a separate process: start it, get its port, stop it."""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from multiprocessing.connection import Connection

import torch

from janus_vit.cloud.server import Cloud
from janus_vit.errors import JanusError, Unreachable
from janus_vit.links.netns import enter_namespace
from janus_vit.model.catalog import load_model
from janus_vit.planning.latency import PlatformProfile

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 5.0


class CloudProcess:
    """Starts a cloud with one thread and waits until it serves.

    Args:
        model: name of the model, which the process loads.
        profile: profile of this machine; the cloud sends it to devices.
        engine: name of the engine.
        host: address to listen on; the system chooses the port.
        namespace: path of the network namespace to listen in; None is the current one.

    Raises:
        JanusError: the cloud did not start; the message says why.
    """

    def __init__(self, model: str, profile: PlatformProfile, engine: str, host: str, namespace: str | None) -> None:
        context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
        self._pipe, theirs = context.Pipe()
        arguments = theirs, model, profile, engine, host, namespace
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.port = self._wait_for_port()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the process."""
        self._pipe.close()
        self._process.join(timeout=_STOP_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _wait_for_port(self) -> int:
        """Return the port when the cloud serves; raise the error that the process sent instead."""
        if not self._pipe.poll(_START_TIMEOUT_S):
            raise Unreachable("the cloud process did not start in time")
        try:
            answer: int | JanusError = self._pipe.recv()
        except EOFError as error:
            raise Unreachable("the cloud process stopped while it started") from error
        if isinstance(answer, JanusError):
            raise answer
        return answer


def _serve(
    pipe: Connection, name: str, profile: PlatformProfile, engine: str, host: str, namespace: str | None
) -> None:
    """Run the cloud until the other end of the pipe is closed. Sends the port, or the error that stopped the start."""
    torch.set_num_threads(1)
    try:
        model = load_model(name)
        if namespace is not None:
            enter_namespace(namespace)  # all threads that gRPC starts from this one are in it too
        with Cloud(model, profile, f"{host}:0", engine=engine) as cloud:
            pipe.send(cloud.port)
            pipe.poll(None)
    except JanusError as error:
        with suppress(BrokenPipeError):  # the parent has ended
            pipe.send(error)
    except (KeyboardInterrupt, BrokenPipeError):
        return
