"""Measures how a live fleet differs from its profiles, and how much of this machine each of its devices needs."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice

from janus_vit.fleet.spec import DeviceKind
from janus_vit.links.emulator import EmulatedLink, LinkSpec
from janus_vit.links.generator import trace_from
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import make_policy
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.connect import expected_outputs
from janus_vit.runtime.device import Device
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.runtime.handshake import shake_hands
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.runtime.worker import warm_up
from janus_vit.scheduling.estimate import full_batch_s
from janus_vit.simulation.conditions import Conditions, Noise, Overhead
from janus_vit.sources.frames import BUILTIN
from janus_vit.sources.streams import open_stream
from janus_vit.testbed.cloud_process import CloudProcess, CloudUsage
from janus_vit.testbed.conditions import REQUEST_BYTES
from janus_vit.testbed.gap_analysis import compute_ratios
from janus_vit.testbed.live_fleet.emulate import EmulatedFleet
from janus_vit.testbed.live_fleet.shared_worker import SharedWorker
from janus_vit.testbed.slowed_worker import SlowedWorker

_FRAMES, _WARM_UP = 20, 3  # of each measurement
_SENDERS = 4  # devices that send at the same time
_PAUSE_S = 0.01
_LOCAL_POLICY, _SENDING_POLICY = "device-only", "cloud-jpeg"
_LONG_SLA_S = 30.0  # no request times out
_LINK, _LINK_MBPS, _RTT_S = "constant:100", 100.0, 0.01  # of the measurements


@dataclass(frozen=True, slots=True)
class CpuNeed:
    """CPU time of a frame.

    Attributes:
        device_s: in the process of its device, with the link.
        cloud_s: in the process of the cloud.
    """

    device_s: float
    cloud_s: float


@dataclass(frozen=True, slots=True)
class FleetConditions:
    """What was measured with a few frames of one device.

    Attributes:
        conditions: how a run differs from its profiles.
        need: of a frame that is planned and sent, runs in the cloud, and runs on the device after that.
    """

    conditions: Conditions
    need: CpuNeed


@dataclass(frozen=True, slots=True)
class _Series:
    """Frames after the warm-up, and what all frames used.

    Attributes:
        outcomes: of the frames.
        platforms: as the policy knew them.
        device_cpu_s: CPU time of a frame in this process.
        cloud: what a frame used of the cloud.
    """

    outcomes: list[Outcome]
    platforms: Platforms
    device_cpu_s: float
    cloud: CloudUsage


def measure_fleet(
    emulated: EmulatedFleet, policy: str, model: Model, engine: Engine, cloud: CloudProcess
) -> FleetConditions:
    """Run a few frames of the fastest kind over fast links: on the device, in the cloud, and as the policy plans them.

    In the cloud, frames run alone and together with those of other devices: an engine without pauses is up to a third
    faster.
    Unlike `testbed.conditions`, this counts the emulated link's own delays as overhead, too.

    Args:
        emulated: the fleet.
        policy: a preset's name, or FILE.py:CLASS; its planning time is measured.
        model: the model.
        engine: runs it for the device.
        cloud: the fleet's cloud.
    """
    fleet = emulated.fleet
    kind = min(fleet.kinds, key=lambda kind: emulated.slowdowns[kind.name])
    shared = SharedWorker(LocalWorker(model, engine))
    worker = SlowedWorker(shared, emulated.slowdowns[kind.name])
    warm_up(worker, model.shape)
    bench = _Bench(emulated, kind, model, worker, cloud)
    local, alone = bench.series(_LOCAL_POLICY, _LONG_SLA_S), bench.series(_SENDING_POLICY, _LONG_SLA_S)
    planned, together = bench.series(policy, kind.sla_s), bench.series(_SENDING_POLICY, _LONG_SLA_S, _SENDERS)
    requests_s = [max(0.0, _request_s(outcome)) for outcome in together.outcomes]
    request_s = statistics.median(requests_s)
    overhead = Overhead(
        prepare_s=statistics.median(outcome.measured.prepare_s for outcome in planned.outcomes),
        plan_s=statistics.median(outcome.measured.plan_s for outcome in planned.outcomes),
        request_s=request_s,
        queue_s=statistics.median(outcome.measured.queue_s for outcome in alone.outcomes),
        request_bytes=REQUEST_BYTES,
    )
    frame_s = full_batch_s(fleet.cloud.costs, fleet.shape, 1) / emulated.cloud.factor
    cold = tuple(each.measured.cloud_s / (emulated.cloud.factor * frame_s) for each in alone.outcomes)
    warm = together.cloud.own_s / frame_s
    noise = Noise(
        device=compute_ratios(local.outcomes, local.platforms)[0],
        cloud=cold,
        cloud_warm=tuple(warm * factor / statistics.fmean(cold) for factor in cold),
        request=tuple(each_s / request_s for each_s in requests_s) if request_s else (),
    )
    need = CpuNeed(planned.device_cpu_s + local.device_cpu_s, alone.cloud.cpu_s)
    return FleetConditions(Conditions(overhead, noise), need)


def pooled(first: Conditions, second: Conditions) -> Conditions:
    """Pool two measurements: the mean overhead, and all noise."""
    before, after = first.overhead, second.overhead
    overhead = Overhead(
        prepare_s=statistics.fmean((before.prepare_s, after.prepare_s)),
        plan_s=statistics.fmean((before.plan_s, after.plan_s)),
        request_s=statistics.fmean((before.request_s, after.request_s)),
        queue_s=statistics.fmean((before.queue_s, after.queue_s)),
        request_bytes=before.request_bytes,
    )
    one, other = first.noise, second.noise
    noise = Noise(
        device=one.device + other.device,
        cloud=one.cloud + other.cloud,
        seed=one.seed,
        request=one.request + other.request,
        cloud_warm=one.cloud_warm + other.cloud_warm,
    )
    return Conditions(overhead, noise)


def _request_s(outcome: Outcome) -> float:
    """Time from sending to the reply that neither the link nor the cloud took."""
    sent_s = (outcome.size_bytes + REQUEST_BYTES) * 8e-6 / _LINK_MBPS
    return outcome.measured.send_s + outcome.measured.rtt_s - _RTT_S - sent_s


@dataclass(frozen=True, slots=True)
class _Bench:
    """What runs the series of a measurement."""

    emulated: EmulatedFleet
    kind: DeviceKind
    model: Model
    worker: SlowedWorker
    cloud: CloudProcess

    def series(self, policy: str, sla_s: float, devices: int = 1) -> _Series:
        """Run frames of one or more devices at the same time."""
        before, began_s = self.cloud.usage(), time.process_time()
        with ThreadPoolExecutor(devices) as pool:
            runs = [pool.submit(self._run, policy, sla_s, f"measured-{index}") for index in range(devices)]
            results = [run.result() for run in runs]
        used_s, used = time.process_time() - began_s, self.cloud.usage().since(before)
        frames = devices * _FRAMES
        outcomes = [outcome for stream, _ in results for outcome in stream[_WARM_UP:]]
        return _Series(outcomes, results[0][1], used_s / frames, used.of_each(frames))

    def _run(self, policy: str, sla_s: float, name: str) -> tuple[list[Outcome], Platforms]:
        spec = LinkSpec(trace_from(_LINK, 1.0, 0), delay_s=_RTT_S / 2)
        with EmulatedLink(spec, "127.0.0.1", self.cloud.port) as link:
            transport = GrpcTransport(link.address, expected_outputs(self.model))
            try:
                met = shake_hands(self.model, transport, link.address, self.kind.profile, DeviceConfig())
                platforms = replace(met, accuracy=self.emulated.fleet.accuracy)
                device = Device(self.worker, transport, make_policy(policy, platforms), sla_s, name)
                outcomes = []
                for sample in islice(cycle(open_stream(BUILTIN, self.model.preprocessing.frames)), _FRAMES):
                    time.sleep(_PAUSE_S)
                    outcomes.append(device.infer(sample.frame))
            finally:
                transport.close()
        return outcomes, platforms
