"""Runs devices while faults come and go, and judges them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, repeat
from threading import Event, Thread

from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.records.reader import read_records
from janus_vit.testbed.chaos.device_process import PICTURES, DeviceSpec, DevicesSetup, Streamed, pictures
from janus_vit.testbed.chaos.faults import Fault
from janus_vit.testbed.chaos.judge import Verdict, Window, judge_device
from janus_vit.testbed.chaos.reference import Reference
from janus_vit.testbed.chaos.rig import ChaosRig, Memory
from janus_vit.testbed.cloud_process import CloudSetup

_SAMPLE_S = 1.0  # between two samples of memory
_POLL_S = 0.1
_USED_AGAIN_S = 3.0  # devices that had no answer of a cloud for so long are not waited for
_START_TIMEOUT_S, _END_TIMEOUT_S = 300.0, 120.0  # on a machine whose CPU others hold
_FAMILY = "exponential"


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Attributes:
        model: name of the model.
        profile: of this machine, in CPU time.
        engine: name of the engine.
        faults: come one after the other.
        repeated: those that then come again until the devices are finished; none: the devices are stopped.
        pause_s: between two faults.
        groups: the devices of each process.
        frames: of all devices together, after which they are stopped; a device may end before.
        delay_s: one-way delay of the link.
        host: address of the cloud.
        namespace: path of the network namespace of the cloud; None is the current one.
    """

    model: str
    profile: PlatformProfile
    engine: str
    faults: Sequence[Fault]
    repeated: Sequence[Fault]
    pause_s: float
    groups: Sequence[Sequence[DeviceSpec]]
    frames: float = math.inf
    delay_s: float = 0.003
    host: str = "127.0.0.1"
    namespace: str | None = None

    @property
    def devices(self) -> list[DeviceSpec]:
        """All devices."""
        return list(chain.from_iterable(self.groups))


@dataclass(frozen=True, slots=True)
class Report:
    """What a run showed.

    Attributes:
        verdicts: one for each device.
        windows: when faults were there.
        struck: frames that ran while a fault was there, late ones among them and fallbacks, by name of the fault.
        memory: samples.
        seconds: length of the run.
        said: messages of the devices to their users.
    """

    verdicts: Sequence[Verdict]
    windows: Sequence[Window]
    struck: dict[str, tuple[int, int, int]]
    memory: Sequence[Memory]
    seconds: float
    said: Sequence[str]

    @property
    def cloud_mb(self) -> list[float]:
        """Memory of the cloud process that lived longest, sample by sample."""
        clouds = [sample.cloud for sample in self.memory]
        longest = max(clouds, key=clouds.count)
        return [sample.cloud_mb for sample in self.memory if sample.cloud == longest]

    @property
    def total(self) -> Verdict:
        """All devices together."""
        return sum(self.verdicts, Verdict())


def run_chaos(plan: Plan, model: Model, engine: Engine, tell: Callable[[str], None] = lambda message: None) -> Report:
    """Run the devices of a plan under its faults, and judge their records.

    Args:
        plan: the run.
        model: the model of the plan.
        engine: its engine in this process, for the right answers.
        tell: called with one sentence for each fault.

    Raises:
        JanusError: a process did not start or cannot be reached.
    """
    setups = [DevicesSetup(plan.model, plan.engine, plan.profile, "", tuple(group)) for group in plan.groups]
    began_s = time.perf_counter()
    windows: list[Window] = []
    cloud = CloudSetup(plan.model, plan.profile, plan.engine, plan.host, plan.namespace)
    with ChaosRig(cloud, setups, plan.delay_s) as rig:
        _wait_for_first_frames(rig)  # until then processes load what they need
        memory, ended = [rig.memory()], Event()
        Thread(target=_sample_memory, args=(rig, memory, ended), daemon=True).start()
        try:
            for fault in chain(plan.faults, cycle(plan.repeated)):
                if not (_wait(rig, plan, plan.pause_s) and _wait_for_cloud(rig, plan)):
                    break
                tell(f"{time.perf_counter() - began_s:6.1f} s  {fault.name}")
                windows.append(_strike(rig, fault))
            if plan.repeated or not plan.faults:
                _wait(rig, plan, math.inf)
            streamed = _stop(rig)
        finally:
            ended.set()
        seconds = time.perf_counter() - began_s
    return _judge(plan, model, engine, streamed=streamed, windows=windows, memory=memory, seconds=seconds)


def _stop(rig: ChaosRig) -> list[Streamed]:
    """Let the devices finish the frames that they have taken. A stream that does not end has failed."""
    rig.stop_streams()
    until_s = time.perf_counter() + _END_TIMEOUT_S
    while not all(each.ended for each in rig.streamed()) and time.perf_counter() < until_s:
        time.sleep(_POLL_S)
    return [each if each.ended else replace(each, failure="the stream did not end") for each in rig.streamed()]


def _strike(rig: ChaosRig, fault: Fault) -> Window:
    begin_s = time.perf_counter()
    with fault.inject(rig):
        time.sleep(fault.seconds)
    return Window(fault.name, begin_s, time.perf_counter(), fault.freezes_devices)


def _wait_for_first_frames(rig: ChaosRig) -> None:
    until_s = time.perf_counter() + _START_TIMEOUT_S
    while not all(each.frames or each.ended for each in rig.streamed()) and time.perf_counter() < until_s:
        time.sleep(_POLL_S)


def _wait(rig: ChaosRig, plan: Plan, seconds: float) -> bool:
    """Wait. Returns False as soon as all devices have ended, or have taken their frames."""
    until_s = time.perf_counter() + seconds
    while not _is_finished(rig.streamed(), plan.frames):
        if time.perf_counter() >= until_s:
            return True
        time.sleep(_POLL_S)
    return False


def _is_finished(streamed: Sequence[Streamed], frames: float) -> bool:
    return all(each.ended for each in streamed) or sum(each.frames for each in streamed) >= frames


def _wait_for_cloud(rig: ChaosRig, plan: Plan) -> bool:
    """Wait until the cloud answers devices again, so that a fault finds frames in the air; see `_wait`."""
    until_s, before = time.perf_counter() + _USED_AGAIN_S, [each.remote for each in rig.streamed()]
    while time.perf_counter() < until_s and _wait(rig, plan, _POLL_S):
        used = [each.remote > count for each, count in zip(rig.streamed(), before, strict=False)]
        if sum(used) * 2 > len(used):
            break
    return _wait(rig, plan, 0.0)


def _sample_memory(rig: ChaosRig, samples: list[Memory], ended: Event) -> None:
    while not ended.wait(_SAMPLE_S):
        samples.append(rig.memory())


def _judge(
    plan: Plan,
    model: Model,
    engine: Engine,
    streamed: Sequence[Streamed],
    windows: Sequence[Window],
    memory: Sequence[Memory],
    seconds: float,
) -> Report:
    reference = Reference(model, engine, plan.profile, pictures())
    verdicts, struck = [], {fault.name: (0, 0, 0) for fault in plan.faults}
    for spec, each in zip(
        plan.devices, chain(streamed, repeat(Streamed(ended=True, failure="no answer"))), strict=False
    ):
        records = read_records(spec.records).records
        fastest_s = fastest_local_s(plan.profile.slowed(spec.slowdown), model.shape)
        verdicts.append(judge_device(spec, each, records, windows, reference.agrees, PICTURES, fastest_s))
        for outcome in (record.outcome for record in records):
            witness = each.witnesses.get(outcome.frame)
            for name in {window.name for window in windows if witness is not None and window.meets(witness)}:
                frames, late, fallbacks = struck[name]
                struck[name] = (frames + 1, late + (not outcome.met), fallbacks + (outcome.fallback is not None))
    reference.close()
    said = [
        f"{spec.name}: {message}" for spec, each in zip(plan.devices, streamed, strict=False) for message in each.said
    ]
    return Report(verdicts, windows, struck, memory, seconds, said)


def fastest_local_s(profile: PlatformProfile, shape: ModelShape) -> float:
    """Time of the fastest plan without a cloud."""
    return min(_whole_s(profile, shape, level) for level in levels(_FAMILY, shape))


def unmerged_s(profile: PlatformProfile, shape: ModelShape) -> float:
    """Time of a frame without a cloud whose tokens are not merged."""
    return _whole_s(profile, shape, 0.0)


def _whole_s(profile: PlatformProfile, shape: ModelShape, level: float) -> float:
    tokens = make_schedule(_FAMILY, level, shape).tokens
    blocks_s = profile.stack_seconds(tokens, "quadratic", shape.head_tokens)
    return profile.stem_s + float(blocks_s.sum()) + profile.head_s
