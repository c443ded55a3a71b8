"""A whole deployment on one machine: a cloud process, a link before it, and a slowed device.

Live, not simulated: real frames, real bytes, real processes. Every policy gets the same link from its beginning.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Protocol

import torch

from janus_vit.cloud.server import Cloud
from janus_vit.errors import JanusError, Unreachable
from janus_vit.links.emulator import EmulatedLink, LinkSpec
from janus_vit.links.netns import enter_namespace
from janus_vit.model.catalog import Model, load_model
from janus_vit.model.engines.base import Engine
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.policies.presets import Platforms, make_policy
from janus_vit.runtime.connect import accuracy_for, outputs_of, shake_hands, warm_up
from janus_vit.runtime.device import Device
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.runtime.pacing import captures
from janus_vit.sources.frames import Sample
from janus_vit.sources.streams import true_label
from janus_vit.testbed.slowed import SlowedWorker

_START_TIMEOUT_S = 120.0


class Link(Protocol):
    """A running link to a backend; ends with its `with` block."""

    @property
    def address(self) -> str:
        """host:port that leads over the link."""

    @property
    def elapsed_s(self) -> float:
        """Position in the trace."""

    def rate_mbps(self) -> float:
        """The uplink's true rate now."""

    def __enter__(self) -> Link: ...

    def __exit__(self, *_: object) -> None: ...


class Network(Protocol):
    """Where the cloud is, and links that lead there. A `Tunnel` is one."""

    @property
    def host(self) -> str:
        """Address for the cloud to listen on."""

    @property
    def namespace(self) -> str | None:
        """Path of the network namespace in which the cloud listens; None: in ours."""

    def open_link(self, port: int) -> Link:
        """A link to the cloud at that port, at its trace's beginning."""


@dataclass(frozen=True)
class Emulated:
    """The loopback, and links through the TCP proxy of `emulator`."""

    spec: LinkSpec
    host: str = "127.0.0.1"
    namespace: None = None

    def open_link(self, port: int) -> EmulatedLink:
        """See `Network.open_link`."""
        return EmulatedLink(self.spec, self.host, port)


@dataclass(frozen=True, slots=True)
class Step:
    """One frame of a live run: its outcome, its true label, and the link at that moment."""

    outcome: Outcome
    label: int | None
    rate_mbps: float
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Session:
    """A device that is connected, and what its policy knew of both sides and the link before the first frame."""

    device: Device
    platforms: Platforms
    model: Model

    def run(
        self, link: Link, samples: Iterator[Sample], duration_s: float, period_s: float | None = None
    ) -> Iterator[Step]:
        """Run frames for that long: back to back, or the newest of a camera that takes one every `period_s`."""
        began_s = time.perf_counter()
        frames = captures(time.perf_counter, _wait, duration_s, period_s, self.device.skips)
        for captured_s, sample in zip(frames, samples, strict=False):
            outcome = self.device.infer(sample.frame, captured_s)
            yield Step(outcome, true_label(sample, self.model), link.rate_mbps(), time.perf_counter() - began_s)


class Rig:
    """Starts the cloud process; `stream` then runs one policy over the link.

    Args:
        model: both sides run it. name: with which the cloud process can load it too.
        profile: this machine with one thread, best in processor time: that is what `SlowedWorker` multiplies, and what
            a cloud that is mostly idle takes even while others use the machine.
        network: makes what stands between, anew for each stream.
        slowdown: how many times slower than this machine the device is.
        engine: of the device; the cloud has one of the same name.

    Raises:
        JanusError: what kept the cloud from starting.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        profile: PlatformProfile,
        network: Network,
        slowdown: float,
        engine: Engine,
    ) -> None:
        self._model = model
        self._network = network
        self._profile = profile.slowed(slowdown)
        self._precision = engine.precision
        self._worker = SlowedWorker(LocalWorker(model, engine), slowdown)
        context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
        ours, theirs = context.Pipe()
        place = network.host, network.namespace
        self._cloud = context.Process(target=_serve, args=(theirs, name, profile, engine.name, *place), daemon=True)
        self._cloud.start()
        theirs.close()
        self._pipe = ours
        try:
            self._port = self._started()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """host:port of the cloud itself, with no link before it."""
        return f"{self._network.host}:{self._port}"

    def open_link(self) -> Link:
        """A link to the cloud, at its trace's beginning."""
        return self._network.open_link(self._port)

    @contextmanager
    def connected(self, address: str, policy: str, sla_s: float, images_allowed: bool = True) -> Iterator[Session]:
        """The device with a fresh policy, connected to the cloud at that address."""
        transport = GrpcTransport(address, outputs_of(self._model))
        try:
            both = shake_hands(self._model, transport, address, self._profile, images_allowed)
            platforms = replace(both, accuracy=accuracy_for(self._model, self._precision, None))
            chosen = make_policy(policy, platforms)
            warm_up(self._worker, self._model)
            yield Session(Device(self._worker, transport, chosen, sla_s), platforms, self._model)
        finally:
            transport.close()

    def stream(
        self, policy: str, samples: Iterator[Sample], sla_s: float, duration_s: float, images_allowed: bool = True
    ) -> Iterator[Step]:
        """Run one policy from the link's beginning, frames back to back, for that long."""
        with self.open_link() as link, self.connected(link.address, policy, sla_s, images_allowed) as session:
            yield from session.run(link, samples, duration_s)

    def close(self) -> None:
        """Stop the cloud process."""
        self._pipe.close()
        self._cloud.join(timeout=5.0)
        if self._cloud.is_alive():
            self._cloud.kill()
            self._cloud.join()

    def _started(self) -> int:
        """The port of the cloud process, once it serves; raises what kept it from that."""
        if not self._pipe.poll(_START_TIMEOUT_S):
            raise Unreachable("the cloud process did not start in time")
        try:
            answer: int | JanusError = self._pipe.recv()
        except EOFError as error:
            raise Unreachable("the cloud process stopped while it started") from error
        if isinstance(answer, JanusError):
            raise answer
        return answer

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wait(seconds: float) -> None:
    time.sleep(max(0.0, seconds))


def _serve(
    pipe: Connection, name: str, profile: PlatformProfile, engine: str, host: str, namespace: str | None
) -> None:
    """The cloud process: serves until the other end of the pipe is closed."""
    torch.set_num_threads(1)
    try:
        model = load_model(name)
        if namespace is not None:
            enter_namespace(namespace)  # and with this thread all that gRPC starts
        with Cloud(model, profile, f"{host}:0", engine=engine) as cloud:
            pipe.send(cloud.port)
            pipe.poll(None)
    except JanusError as error:
        with suppress(BrokenPipeError):  # nobody is there to be told
            pipe.send(error)
    except (KeyboardInterrupt, BrokenPipeError):
        return
