"""A whole deployment on one machine: a cloud process, an emulated link before it, and a slowed device.

Live, not simulated: real frames, real bytes, real processes. Every policy gets the same link from its beginning.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

import torch

from janus_vit.errors import JanusError, Unreachable
from janus_vit.lab.emulator import EmulatedLink, LinkSpec
from janus_vit.lab.slowed import SlowedWorker
from janus_vit.lab.sources import Sample
from janus_vit.model.catalog import Model, load_model
from janus_vit.model.engines.select import AUTO, make_engine
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.outcome import Outcome
from janus_vit.runtime.cloud import Cloud
from janus_vit.runtime.connect import connect
from janus_vit.runtime.worker import LocalWorker

_START_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Step:
    """One frame of a live run: its outcome, its true label, and the link at that moment."""

    outcome: Outcome
    label: int | None
    rate_mbps: float
    elapsed_s: float


class Rig:
    """Starts the cloud process; `stream` then runs one policy over the emulated link.

    Args:
        model: by name, so that the cloud process can load it too. profile: this machine, one thread.
        link: what stands between. slowdown: how many times slower than this machine the device is.
        engine: by name, of both sides.
    """

    def __init__(
        self, model: Model, profile: PlatformProfile, link: LinkSpec, slowdown: float, engine: str = AUTO
    ) -> None:
        self._model = model
        self._link = link
        self._profile = profile.slowed(slowdown)
        self._engine = make_engine(model, engine)
        self._worker = SlowedWorker(LocalWorker(model, self._engine), slowdown)
        context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
        ours, theirs = context.Pipe()
        self._cloud = context.Process(target=_serve, args=(theirs, model.name, profile, self._engine.name), daemon=True)
        self._cloud.start()
        theirs.close()
        self._pipe = ours
        try:
            if not ours.poll(_START_TIMEOUT_S):
                self.close()
                raise Unreachable("the cloud process did not start in time")
            self._port: int = ours.recv()
        except EOFError as error:
            self.close()
            raise Unreachable("the cloud process stopped while it started") from error

    def stream(
        self, policy: str, samples: Iterator[Sample], sla_s: float, duration_s: float, images_allowed: bool = True
    ) -> Iterator[Step]:
        """Run one policy from the link's beginning, frames back to back, for that long."""
        with EmulatedLink(self._link, "127.0.0.1", self._port) as link:
            device = connect(
                self._model,
                link.address,
                sla_s,
                self._profile,
                policy,
                images_allowed,
                worker=self._worker,
                engine=self._engine,
            )
            began_s = time.perf_counter()
            try:
                for sample in samples:
                    outcome = device.infer(sample.frame)
                    elapsed_s = time.perf_counter() - began_s
                    yield Step(outcome, sample.label, link.rate_mbps(), elapsed_s)
                    if elapsed_s >= duration_s:
                        return
            finally:
                device.close()

    def close(self) -> None:
        """Stop the cloud process."""
        self._pipe.close()
        self._cloud.join(timeout=5.0)
        if self._cloud.is_alive():
            self._cloud.kill()
            self._cloud.join()

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(pipe: Connection, model_name: str, profile: PlatformProfile, engine: str) -> None:
    """The cloud process: serves until the other end of the pipe is closed."""
    torch.set_num_threads(1)
    try:
        with Cloud(load_model(model_name), profile, engine=engine) as cloud:
            pipe.send(cloud.port)
            pipe.poll(None)
    except (JanusError, KeyboardInterrupt, BrokenPipeError):
        return
