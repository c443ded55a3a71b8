"""Devices under faults, several in one process: each streams known frames and writes records, as `janus-vit device`.

Several frames of each device are in flight at once.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from multiprocessing.connection import Connection
from operator import sub
from pathlib import Path
from threading import Thread

import numpy as np
import torch
from numpy.typing import NDArray

from janus_vit.errors import described
from janus_vit.model.catalog import Model, load_model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import make_engine
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.outcome import Outcome
from janus_vit.records.writer import RecordWriter
from janus_vit.runtime.connect import connect
from janus_vit.runtime.device import Device
from janus_vit.runtime.pacing import EveryFrame, NewestFrames, attended, attentive
from janus_vit.sources.builtin import builtin_frames
from janus_vit.sources.frames import Sample
from janus_vit.testbed.chaos.camera import CameraState, FailingCamera
from janus_vit.testbed.child_process import serve_until_closed
from janus_vit.testbed.slowed_engine import SlowedEngine, Slowing

PICTURES = 50  # that every device streams in turns
_NAP_S, _TIMERS_S = 0.005, 0.001
_STATISTICS = Path("/proc/thread-self/schedstat")


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device.

    Attributes:
        name: at the cloud.
        policy: a preset's name.
        sla_s: time allowed for each frame.
        period_s: time between frames.
        frames: length of the stream, unless it is told to stop before.
        slowdown: factor by which it is slower than this machine.
        images_allowed: False keeps pixels on the device.
        has_camera: True drops frames as with a live camera; False runs every frame.
        records: where its records are written.
    """

    name: str
    policy: str
    sla_s: float
    period_s: float
    frames: int
    slowdown: float
    images_allowed: bool
    has_camera: bool
    records: Path


@dataclass(frozen=True, slots=True)
class DevicesSetup:
    """The devices of one process.

    Attributes:
        model: name of the model.
        engine: name of the engine.
        profile: of this machine, in CPU time.
        address: host:port of the link to the cloud.
        devices: the devices.
    """

    model: str
    engine: str
    profile: PlatformProfile
    address: str
    devices: tuple[DeviceSpec, ...]


@dataclass(frozen=True, slots=True)
class Witness:
    """What a device saw of one frame apart from its record.

    Attributes:
        began_s: when the device took the frame, by the true `time.perf_counter`, which all processes share.
        ended_s: when its answer was delivered.
        denied_s: time that the machine kept the CPU from its thread, and by which its clock was set forward.
    """

    began_s: float
    ended_s: float
    denied_s: float

    def overlaps(self, other: Witness | None) -> bool:
        """Whether two frames were in flight at the same time."""
        return other is not None and self.began_s < other.ended_s and other.began_s < self.ended_s


@dataclass(frozen=True, slots=True)
class Streamed:
    """What one device did.

    Attributes:
        witnesses: of every frame that was answered, by its number; empty until all devices of its process have ended.
        frames: number of frames that it took so far.
        remote: number of answers of the cloud so far.
        was_stopped: whether it was told to take no more frames.
        ended: whether the stream has ended.
        failure: error that ended it; empty if there was none.
        said: messages to the user.
    """

    witnesses: Mapping[int, Witness] = field(default_factory=dict)
    frames: int = 0
    remote: int = 0
    was_stopped: bool = False
    ended: bool = False
    failure: str = ""
    said: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StepClock:
    """Command: set the clock of the process forward.

    Attributes:
        seconds: by how much.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class StopStreams:
    """Command: take no more frames."""


class _Clock:
    """Replaces `time.perf_counter`, which all of the product reads, in this process.

    Attributes:
        offset_s: by how much it is set forward.
        overslept_s: by how much a thread that sleeps again and again woke too late so far: the machine was busy, or
            the devices of this process, each of which would have its own, waited for its interpreter.
    """

    def __init__(self) -> None:
        self.offset_s = self.overslept_s = 0.0
        self.true = time.perf_counter
        time.perf_counter = self.now
        Thread(target=self._sleep_again_and_again, name="chaos-sleeper", daemon=True).start()

    def now(self) -> float:
        """The true time, set forward."""
        return self.true() + self.offset_s

    def denied_s(self) -> tuple[float, float]:
        """Time for which this thread did not run although it could, by two measures."""
        return _denied_s(), self.overslept_s

    def _sleep_again_and_again(self) -> None:
        while True:
            began_s = self.true()
            time.sleep(_NAP_S)
            self.overslept_s += max(0.0, self.true() - began_s - _NAP_S - _TIMERS_S)


@dataclass
class _Stream:
    """One device in its thread."""

    spec: DeviceSpec
    camera: FailingCamera
    witnessed: array[float] = field(default_factory=lambda: array("d"))  # see `Witness`, 4 numbers of each
    said: list[str] = field(default_factory=list)
    frames: int = 0
    remote: int = 0
    is_stopped: bool = False
    ended: bool = False
    failure: str = ""

    def run(self, setup: DevicesSetup, model: Model, engine: Engine, clock: _Clock) -> None:
        """Stream all frames; whatever ends the stream early is kept."""
        try:
            self._run(setup, model, engine, clock)
        except BaseException as error:
            self.failure = described(error)
        self.ended = True

    def streamed(self, with_witnesses: bool) -> Streamed:
        """What the device did so far."""
        rows = zip(*[iter(self.witnessed)] * 4, strict=True) if with_witnesses else ()
        witnesses = {int(number): Witness(*times) for number, *times in rows}
        return Streamed(
            witnesses, self.frames, self.remote, self.is_stopped, self.ended, self.failure, tuple(self.said)
        )

    def _run(self, setup: DevicesSetup, model: Model, engine: Engine, clock: _Clock) -> None:
        spec = self.spec
        device = connect(
            model,
            setup.address,
            setup.profile.slowed(spec.slowdown),
            notify=self.said.append,
            engine=SlowedEngine(engine, Slowing(spec.slowdown)),
            policy=spec.policy,
            sla_s=spec.sla_s,
            name=spec.name,
            images_allowed=spec.images_allowed,
            require_cloud=False,
        )
        writer = RecordWriter(spec.records, model.labels, notify=self.said.append)
        with closing(device), closing(writer):
            for sample in islice(self._frames(device), spec.frames):
                deliver = self._witnessed(clock, writer, sample.name)
                self.frames += 1
                device.submit(sample.frame, sample.captured_s, deliver)
            device.drain()

    def _witnessed(self, clock: _Clock, writer: RecordWriter, name: str) -> Callable[[Outcome], None]:
        """Witness a frame from now until its answer is delivered, and write its record then."""
        number, began_s, offset_s, denied_s = self.frames, clock.true(), clock.offset_s, clock.denied_s()

        def deliver(outcome: Outcome) -> None:
            since_s = max(map(sub, clock.denied_s(), denied_s)) + clock.offset_s - offset_s
            self.witnessed.extend((number, began_s, clock.true(), since_s))
            self.remote += outcome.fallback is None and not outcome.plan.is_local
            writer.write(outcome, name)

        return deliver

    def _frames(self, device: Device) -> Iterator[Sample]:
        spec, now = self.spec, time.perf_counter
        wait, stopped = attentive(device, now, time.sleep), lambda: self.is_stopped
        if not spec.has_camera:
            samples = (Sample(str(index), picture, None) for index, picture in cycle(enumerate(pictures())))
            return iter(EveryFrame(samples, spec.period_s, now, wait, stopped))
        newest = attended(self.camera.samples(), device, now, stopped)
        return iter(NewestFrames(newest, spec.period_s, device.skip_if_hopeless, now, wait, stopped))


def pictures() -> list[NDArray[np.uint8]]:
    """The frames that every device streams in turns."""
    return list(builtin_frames()[0][:PICTURES])


def serve_devices(pipe: Connection) -> None:
    """Run the devices of a process: receives the setup, then commands, and answers each with what was `Streamed`."""
    torch.set_num_threads(1)
    with suppress(EOFError, OSError):
        setup: DevicesSetup = pipe.recv()
        model, clock = load_model(setup.model), _Clock()
        engine = make_engine(model, setup.engine)
        streams = [_Stream(spec, FailingCamera(pictures(), spec.period_s)) for spec in setup.devices]
        for stream in streams:
            Thread(target=stream.run, args=(setup, model, engine, clock), daemon=True).start()
        serve_until_closed(pipe, lambda command: _answer(command, streams, clock))


def _answer(command: object, streams: Sequence[_Stream], clock: _Clock) -> list[Streamed]:
    if isinstance(command, StepClock):
        clock.offset_s += command.seconds
    elif isinstance(command, CameraState):
        for stream in streams:
            stream.camera.state = command
    elif isinstance(command, StopStreams):
        for stream in streams:
            stream.is_stopped = True
    done = all(stream.ended for stream in streams)
    return [stream.streamed(with_witnesses=done) for stream in streams]


def _denied_s() -> float:
    """Time for which this thread was ready to run and waited for the CPU, since its start."""
    try:
        return int(_STATISTICS.read_text().split()[1]) * 1e-9
    except (OSError, IndexError, ValueError):  # not Linux
        return 0.0
