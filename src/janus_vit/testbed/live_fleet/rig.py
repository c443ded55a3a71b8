"""A live fleet on one machine: a cloud process, and processes of slowed devices, each with its own emulated link."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType

from janus_vit.fleet.spec import Fleet, Member
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.planning.outcome import Outcome
from janus_vit.testbed.cloud_process import CloudProcess, CloudSetup, CloudUsage
from janus_vit.testbed.live_fleet.conditions import CpuNeed, FleetConditions, measure_fleet
from janus_vit.testbed.live_fleet.device_process import Connected, DeviceProcess, DeviceSetup, trace_offset_s
from janus_vit.testbed.live_fleet.emulate import EmulatedFleet

_USABLE = 0.45  # share of the cores, and of one process: above it frames wait for the CPU instead of the fleet
_OF_PROCESS = 0.3  # cores that the devices of one process need
_START_S = 0.3  # until the cameras start, so that all processes know
_POLL_S = 0.1


@dataclass(frozen=True)
class LiveRun:
    """What devices did.

    Attributes:
        outcomes: of their frames, by name of the device; times of capture count from the start of the run.
        members: the devices, with the place in their trace and the knowledge of their link at the start of the run.
        used: what the cloud used.
    """

    outcomes: Mapping[str, Sequence[Outcome]]
    members: Sequence[Member]
    used: CloudUsage


class FleetRig:
    """Starts the cloud of an emulated fleet, and devices that use it.

    Args:
        emulated: the fleet.
        model: the model.
        name: the model's name, with which the other processes load it.
        engine: engine of this machine; the other processes use one of the same name.
        policy: a preset's name, or FILE.py:CLASS.
        head: the model's head of the user's own, with which the other processes load it.

    Raises:
        JanusError: the cloud did not start; the message says why.
    """

    def __init__(
        self, emulated: EmulatedFleet, model: Model, name: str, engine: Engine, policy: str, head: str | None = None
    ) -> None:
        cloud = emulated.fleet.cloud
        self.fleet = emulated.fleet
        self.policy = policy
        self._emulated = emulated
        self._model = model
        self._name, self._head = name, head
        self._engine = engine
        setup = CloudSetup(name, cloud.profile, engine.name, config=cloud.config, costs=cloud.costs, head=head)
        self._cloud = CloudProcess(replace(setup, slowing=emulated.cloud))

    def measure(self) -> FleetConditions:
        """Run a few frames of one device, see `conditions.measure_fleet`."""
        return measure_fleet(self._emulated, self.policy, self._model, self._engine, self._cloud)

    def run(
        self, drawn: Sequence[Member], need: CpuNeed, duration_s: float, progress: Callable[[float], None]
    ) -> LiveRun:
        """Connect devices and run them until their cameras end.

        Args:
            drawn: the devices.
            need: of a frame; decides how many processes share them.
            duration_s: when the cameras end.
            progress: called with the share of the run that is done.

        Raises:
            JanusError: a process failed.
        """
        groups = _groups(drawn, need)
        with ExitStack() as stack:
            processes = []
            for _ in groups:
                processes.append(DeviceProcess())
                stack.callback(processes[-1].close)
            for process, group in zip(processes, groups, strict=True):
                process.connect(self._setup(group))
            connected = [each for process in processes for each in process.connected()]
            before, start_s = self._cloud.usage(), time.perf_counter() + _START_S
            for process in processes:
                process.start(start_s)
            _wait(start_s, duration_s, progress)
            found = [each for process in processes for each in process.outcomes(start_s + duration_s)]
            used = self._cloud.usage().since(before)
        ordered = [member for group in groups for member in group]
        begun = {member.name: _begun(member, at, start_s) for member, at in zip(ordered, connected, strict=True)}
        outcomes = {
            member.name: [replace(outcome, at_s=outcome.at_s - start_s) for outcome in stream]
            for member, stream in zip(ordered, found, strict=True)
        }
        return LiveRun(outcomes, [begun[member.name] for member in drawn], used)

    def close(self) -> None:
        """Stop the cloud process."""
        self._cloud.close()

    def __enter__(self) -> FleetRig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _setup(self, group: Sequence[Member]) -> DeviceSetup:
        return DeviceSetup(
            model=self._name,
            engine=self._engine.name,
            port=self._cloud.port,
            policy=self.policy,
            accuracy=self.fleet.accuracy,
            members=tuple(group),
            slowdowns=tuple(self._emulated.slowdowns[member.kind.name] for member in group),
            head=self._head,
        )


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def devices_carried(fleet: Fleet, need: CpuNeed) -> int:
    """Count the devices of a fleet that this machine's cores carry, with room to spare."""
    frames_per_s = sum(kind.share / kind.period_s for kind in fleet.kinds) / sum(kind.share for kind in fleet.kinds)
    of_device, of_cloud = need.device_s * frames_per_s, need.cloud_s * frames_per_s
    return math.floor(min(_USABLE * cores() / (of_device + of_cloud), _USABLE / of_cloud))


def _groups(drawn: Sequence[Member], need: CpuNeed) -> list[list[Member]]:
    """Divide devices among processes, so that they rarely wait for the interpreter of their process."""
    needed = sum(need.device_s / member.kind.period_s for member in drawn)
    number = min(len(drawn), 2 * cores(), math.ceil(needed / _OF_PROCESS))
    return [list(drawn[first::number]) for first in range(number)]


def _wait(start_s: float, duration_s: float, progress: Callable[[float], None]) -> None:
    """Show the progress until the cameras end."""
    while (elapsed_s := time.perf_counter() - start_s) < duration_s:
        progress(max(0.0, elapsed_s) / duration_s)
        time.sleep(_POLL_S)


def _begun(member: Member, connected: Connected, start_s: float) -> Member:
    """The device with its place in the trace, and its knowledge of the link, at the start."""
    begin_s = trace_offset_s(member) + start_s - connected.trace_began_s
    return replace(member, begin_s=begin_s, seen=(connected.rate_mbps, connected.rtt_s))
