"""A cloud in a separate process: start it, get its port, stop it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from janus_vit.cloud.access.settings import Access
from janus_vit.cloud.server import Cloud
from janus_vit.errors import JanusError
from janus_vit.links.netns import enter_namespace
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.factory import make_engine
from janus_vit.planning.latency import PlatformProfile
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable
from janus_vit.testbed.child_process import ChildProcess, serve_until_closed
from janus_vit.testbed.slowed_engine import SlowedEngine, Slowing

_START_TIMEOUT_S = 120.0
_ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class CloudSetup:
    """A cloud that runs with one thread.

    Attributes:
        model: name of the model, which the process loads.
        profile: profile of the cloud, which it sends to devices.
        engine: name of the engine.
        host: address to listen on.
        namespace: path of the network namespace to listen in; None is the current one.
        slowing: how much slower it is than this machine; None runs the engine as it is.
        config: limits; None for the default.
        costs: times of batches; None to measure them, or to take them from the profile.
        port: to listen on; 0 takes a free one.
        head: head of the user's own, as `load_model` takes it.
    """

    model: str
    profile: PlatformProfile
    engine: str
    host: str = "127.0.0.1"
    namespace: str | None = None
    slowing: Slowing | None = None
    config: CloudConfig | None = None
    costs: CostTable | None = None
    port: int = 0
    head: str | None = None


@dataclass(frozen=True, slots=True)
class CloudUsage:
    """What a slowed cloud has used since its start.

    Attributes:
        busy_s: time in which its engine ran.
        frames_s: frames in a batch times its seconds, added up.
        own_s: time that its engine ran, without the slowing: what this machine took.
        cpu_s: CPU time of its process.
    """

    busy_s: float
    frames_s: float
    own_s: float
    cpu_s: float

    def since(self, before: CloudUsage) -> CloudUsage:
        """What was used after an earlier moment."""
        return CloudUsage(
            busy_s=self.busy_s - before.busy_s,
            frames_s=self.frames_s - before.frames_s,
            own_s=self.own_s - before.own_s,
            cpu_s=self.cpu_s - before.cpu_s,
        )

    def of_each(self, frames: int) -> CloudUsage:
        """What each of so many frames used."""
        return CloudUsage(self.busy_s / frames, self.frames_s / frames, self.own_s / frames, self.cpu_s / frames)


class CloudProcess:
    """Starts a cloud and waits until it serves.

    Args:
        setup: the cloud.

    Raises:
        JanusError: the cloud did not start; the message says why.
    """

    def __init__(self, setup: CloudSetup) -> None:
        self._child = ChildProcess("the cloud process", _serve)
        try:
            self._child.send(setup)
            self.port: int = self._child.receive(_START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    @property
    def process_id(self) -> int:
        """Of the process, for signals."""
        return self._child.process_id

    def usage(self) -> CloudUsage:
        """Ask what it has used so far. For a slowed cloud only.

        Raises:
            Unreachable: the process has ended.
        """
        self._child.send(None)
        usage: CloudUsage = self._child.receive(_ANSWER_TIMEOUT_S)
        return usage

    def close(self) -> None:
        """Stop the process."""
        self._child.close()


def _serve(pipe: Connection) -> None:
    """Run the cloud until the other end of the pipe is closed.

    Receives the setup. Sends the port, or the error that stopped the start.
    """
    torch.set_num_threads(1)
    try:
        setup: CloudSetup = pipe.recv()
        model = load_model(setup.model, head=setup.head)
        engine = make_engine(model, setup.engine)
        slowed = None if setup.slowing is None else SlowedEngine(engine, setup.slowing)
        if setup.namespace is not None:
            enter_namespace(setup.namespace)  # all threads that gRPC starts from this one are in it too
        with Cloud(
            model,
            setup.profile,
            f"{setup.host}:{setup.port}",
            Access(allow_anonymous=True),  # a namespace has no other devices
            slowed or engine,
            setup.config,
            setup.costs,
        ) as cloud:
            pipe.send(cloud.port)
            serve_until_closed(pipe, lambda _: _usage(slowed))
    except JanusError as error:
        with suppress(BrokenPipeError):  # the parent has ended
            pipe.send(error)
    except (EOFError, BrokenPipeError):
        return


def _usage(engine: SlowedEngine | None) -> CloudUsage:
    assert engine is not None, "only a slowed engine counts its time"
    return CloudUsage(engine.busy_s, engine.frames_s, engine.own_s, time.process_time())
