"""A whole deployment on one machine: a cloud process, a link and a slowed device.

Frames, bytes and processes are real, nothing is simulated. Every policy gets the same link from its beginning.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import make_policy
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.connect import accuracy_for, expected_outputs
from janus_vit.runtime.device import Device
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.runtime.handshake import shake_hands
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.runtime.pacing import attentive, captures
from janus_vit.runtime.worker import warm_up
from janus_vit.sources.frames import Sample
from janus_vit.sources.streams import true_label
from janus_vit.testbed.cloud_process import CloudProcess, CloudSetup
from janus_vit.testbed.network import Link, Network
from janus_vit.testbed.slowed_worker import SlowedWorker


@dataclass(frozen=True, slots=True)
class Step:
    """One frame of a live run.

    Attributes:
        outcome: what happened to the frame.
        label: its true class; None if unknown.
        rate_mbps: true rate of the link after the frame.
        elapsed_s: time since the start of the run.
    """

    outcome: Outcome
    label: int | None
    rate_mbps: float
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Session:
    """A connected device.

    Attributes:
        device: runs frames.
        platforms: both machines and the link, as its policy knew them before the first frame.
        model: the model that both sides run.
    """

    device: Device
    platforms: Platforms
    model: Model

    def run(
        self, link: Link, samples: Iterator[Sample], duration_s: float, period_s: float | None = None
    ) -> Iterator[Step]:
        """Run frames and yield a step for each answer, in order.

        Args:
            link: the link that the device is connected over.
            samples: frames to run.
            duration_s: length of the run.
            period_s: time between frames of a camera, whose newest frame is run; None runs frames back to back.
        """
        began_s, steps = time.perf_counter(), deque[Step]()

        def keep(sample: Sample, outcome: Outcome) -> None:
            elapsed_s = time.perf_counter() - began_s
            steps.append(Step(outcome, true_label(sample, self.model), link.rate_mbps(), elapsed_s))

        wait = attentive(self.device, time.perf_counter, _wait)
        frames = captures(time.perf_counter, wait, duration_s, period_s, self.device.skip_if_hopeless)
        for captured_s, sample in zip(frames, samples, strict=False):
            self.device.submit(sample.frame, captured_s, partial(keep, sample))
            while steps:
                yield steps.popleft()
        self.device.drain()
        yield from steps


class Rig:
    """Starts a cloud process and connects slowed devices to it, one after another.

    Args:
        model: both sides run it.
        name: the model's name, with which the cloud process loads it.
        profile: profile of this machine with one thread, in CPU time: `SlowedWorker` multiplies CPU time, and a cloud
            that is mostly idle takes about that long even while other programs use the machine.
        network: opens a link for each stream.
        slowdown: factor by which the device is slower than this machine.
        engine: engine of the device; the cloud uses an engine of the same name.
        head: the model's head of the user's own, with which the cloud process loads it.

    Raises:
        JanusError: the cloud did not start; the message says why.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        profile: PlatformProfile,
        network: Network,
        slowdown: float,
        engine: Engine,
        head: str | None = None,
    ) -> None:
        self._model = model
        self._network = network
        self._profile = profile.slowed(slowdown)
        self._precision = engine.precision
        self._worker = SlowedWorker(LocalWorker(model, engine), slowdown)
        self._cloud = CloudProcess(CloudSetup(name, profile, engine.name, network.host, network.namespace, head=head))

    @property
    def address(self) -> str:
        """host:port of the cloud itself, without a link."""
        return f"{self._network.host}:{self._cloud.port}"

    def open_link(self) -> Link:
        """Open a link to the cloud. It starts at the beginning of its trace."""
        return self._network.open_link(self._cloud.port)

    @contextmanager
    def connected(
        self, address: str, policy: str, sla_s: float, images_allowed: bool = True, in_flight: int = 1
    ) -> Iterator[Session]:
        """Connect a device with a fresh policy.

        Args:
            address: host:port of the cloud or of a link to it.
            policy: a preset's name, or FILE.py:CLASS.
            sla_s: time allowed for each frame.
            images_allowed: False keeps pixels on the device.
            in_flight: number of frames that run at once.
        """
        transport = GrpcTransport(address, expected_outputs(self._model))
        try:
            both = shake_hands(
                self._model, transport, address, self._profile, DeviceConfig(images_allowed=images_allowed)
            )
            platforms = replace(both, accuracy=accuracy_for(self._model, self._precision, None))
            chosen = make_policy(policy, platforms)
            warm_up(self._worker, self._model.shape)
            device = Device(self._worker, transport, chosen, sla_s, in_flight=in_flight)
            yield Session(device, platforms, self._model)
        finally:
            transport.close()

    def stream(
        self, policy: str, samples: Iterator[Sample], sla_s: float, duration_s: float, images_allowed: bool = True
    ) -> Iterator[Step]:
        """Run one policy back to back over a new link; see `connected` and `Session.run`."""
        with self.open_link() as link, self.connected(link.address, policy, sla_s, images_allowed) as session:
            yield from session.run(link, samples, duration_s)

    def close(self) -> None:
        """Stop the cloud process."""
        self._cloud.close()

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wait(seconds: float) -> None:
    time.sleep(max(0.0, seconds))
