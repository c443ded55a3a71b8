"""Devices of a live fleet in one process: each in a thread, with its own link, policy and camera."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import cycle, islice
from multiprocessing.connection import Connection

import numpy as np
import torch

from janus_vit.errors import JanusError
from janus_vit.fleet.spec import Member
from janus_vit.links.emulator import EmulatedLink, LinkSpec
from janus_vit.links.traces import Trace
from janus_vit.model.catalog import Model, load_model
from janus_vit.model.engines.factory import make_engine
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.policies.presets import make_policy
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.connect import expected_outputs
from janus_vit.runtime.device import Device
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.runtime.handshake import shake_hands
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.runtime.pacing import captures
from janus_vit.runtime.worker import Worker, warm_up
from janus_vit.sources.frames import BUILTIN, Sample
from janus_vit.sources.streams import open_stream
from janus_vit.testbed.child_process import ChildProcess
from janus_vit.testbed.live_fleet.shared_worker import SharedWorker
from janus_vit.testbed.slowed_worker import SlowedWorker

_CONNECT_TIMEOUT_S = 180.0
_GRACE_S = 30.0  # after the end of the run, for the last frames
_SWITCH_S = 5e-4  # a thread that wakes up waits at most about this long for the interpreter
_FRAMES = 64  # that the cameras of a process take in turns
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class DeviceSetup:
    """The devices of one process.

    Attributes:
        model: name of the model.
        engine: name of the engine.
        port: of the cloud, on the loopback interface.
        policy: a preset's name, or FILE.py:CLASS.
        accuracy: accuracy of the model's configurations.
        members: the devices.
        slowdowns: how many times slower than this machine each of them is.
        head: head of the user's own, as `load_model` takes it.
    """

    model: str
    engine: str
    port: int
    policy: str
    accuracy: AccuracyTable
    members: tuple[Member, ...]
    slowdowns: tuple[float, ...]
    head: str | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    """What a device knows when it has connected.

    Attributes:
        rate_mbps: rate of the link, as measured.
        rtt_s: round trip, as measured.
        trace_began_s: when the trace of its link began, by `time.perf_counter`.
    """

    rate_mbps: float
    rtt_s: float
    trace_began_s: float


class DeviceProcess:
    """Starts a process for devices."""

    def __init__(self) -> None:
        self._child = ChildProcess("a process of devices", _serve)

    def connect(self, setup: DeviceSetup) -> None:
        """Let devices connect to the cloud.

        Raises:
            Unreachable: the process has ended.
        """
        self._child.send(setup)

    def connected(self) -> list[Connected]:
        """Wait until all devices have connected.

        Raises:
            JanusError: one of them cannot connect.
        """
        found: list[Connected] = self._child.receive(_CONNECT_TIMEOUT_S)
        return found

    def start(self, at_s: float) -> None:
        """Let the cameras start at a time of `time.perf_counter`, which all processes share."""
        self._child.send(at_s)

    def outcomes(self, ends_s: float) -> list[list[Outcome]]:
        """Wait for the outcomes of each device.

        Args:
            ends_s: when the cameras end, by `time.perf_counter`.

        Raises:
            JanusError: a device failed.
        """
        left_s = max(0.0, ends_s - time.perf_counter()) + _GRACE_S
        found: list[list[Outcome]] = self._child.receive(left_s)
        return found

    def close(self) -> None:
        """Stop the process."""
        self._child.close()


def trace_offset_s(member: Member) -> float:
    """Place in a member's trace at which its live link begins: the start of the step in which the member begins."""
    interval_s = member.trace.interval_s
    return int(member.begin_s / interval_s) * interval_s


def live_trace(member: Member) -> Trace:
    """The member's trace, turned so that it begins there."""
    trace = member.trace
    step = round(trace_offset_s(member) / trace.interval_s)
    return Trace(trace.name, trace.interval_s, np.roll(trace.mbps, -step), trace.meta)


def _serve(pipe: Connection) -> None:
    """Connect devices, run them when told to, and send their outcomes. Ends when the other process closes."""
    torch.set_num_threads(1)
    sys.setswitchinterval(_SWITCH_S)
    with suppress(EOFError, OSError), ExitStack() as stack:
        setup: DeviceSetup = pipe.recv()
        try:
            model = load_model(setup.model, head=setup.head)
            worker = SharedWorker(LocalWorker(model, make_engine(model, setup.engine)))
            warm_up(worker, model.shape)
            runs = [
                stack.enter_context(_connected(setup, model, member, SlowedWorker(worker, factor)))
                for member, factor in zip(setup.members, setup.slowdowns, strict=True)
            ]
            pipe.send([run.connected for run in runs])
            start_s = pipe.recv()
            _run_all(pipe, runs, list(open_stream(BUILTIN, model.preprocessing.frames).first(_FRAMES)), start_s)
        except JanusError as error:
            pipe.send(error)
        pipe.recv()


@dataclass(frozen=True, slots=True)
class _Run:
    member: Member
    device: Device
    connected: Connected


@contextmanager
def _connected(setup: DeviceSetup, model: Model, member: Member, worker: Worker) -> Iterator[_Run]:
    """Open a member's link and connect it to the cloud over it."""
    kind = member.kind
    spec = LinkSpec(live_trace(member), delay_s=kind.rtt_s / 2)
    with EmulatedLink(spec, "127.0.0.1", setup.port) as link:
        began_s = time.perf_counter() - link.elapsed_s
        transport = GrpcTransport(link.address, expected_outputs(model))
        try:
            met = shake_hands(model, transport, link.address, kind.profile, DeviceConfig())
            known = replace(met, accuracy=setup.accuracy)
            device = Device(worker, transport, make_policy(setup.policy, known), kind.sla_s, member.name)
            yield _Run(member, device, Connected(known.rate_mbps, known.rtt_s, began_s))
        finally:
            transport.close()


def _run_all(pipe: Connection, runs: Sequence[_Run], samples: Sequence[Sample], start_s: float) -> None:
    """Run every device in a thread and send the outcomes of each.

    Raises:
        EOFError: the other process has closed.
        JanusError: a device failed.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(len(runs)) as pool:
        try:
            streams = [
                pool.submit(_stream, run, islice(cycle(samples), index, None), start_s, stop)
                for index, run in enumerate(runs)
            ]
            while not all(stream.done() for stream in streams):
                if pipe.poll(_POLL_S):
                    pipe.recv()
        finally:
            stop.set()
    pipe.send([stream.result() for stream in streams])


def _stream(run: _Run, samples: Iterator[Sample], start_s: float, stop: threading.Event) -> list[Outcome]:
    """Run the frames of one camera."""
    member, device = run.member, run.device

    def wait(seconds: float) -> None:
        stop.wait(max(0.0, seconds))

    began_s, length_s = start_s + member.phase_s, member.active[-1][1] - member.phase_s
    wait(began_s - time.perf_counter())
    # A camera begins at its time even if this thread wakes up late: frames up to then are dropped.
    frames = captures(time.perf_counter, wait, length_s, member.kind.period_s, device.skip_if_hopeless, began_s)
    outcomes = []
    for captured_s, sample in zip(frames, samples, strict=False):
        if stop.is_set():
            break
        outcomes.append(device.infer(sample.frame, captured_s))
    return outcomes
