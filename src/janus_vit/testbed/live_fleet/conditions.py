"""Measures how a live fleet differs from its profiles, and how much of this machine each of its devices needs."""

from __future__ import annotations

import statistics
import time
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
from janus_vit.testbed.cloud_process import CloudProcess
from janus_vit.testbed.conditions import REQUEST_BYTES
from janus_vit.testbed.gap_analysis import compute_ratios
from janus_vit.testbed.live_fleet.emulate import EmulatedFleet
from janus_vit.testbed.slowed_worker import SlowedWorker

_FRAMES, _WARM_UP = 16, 3  # of each measurement
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
    """Frames after the warm-up, and CPU time of all frames, for each of them."""

    outcomes: list[Outcome]
    platforms: Platforms
    need: CpuNeed


def measure_fleet(
    emulated: EmulatedFleet, policy: str, model: Model, engine: Engine, cloud: CloudProcess
) -> FleetConditions:
    """Run a few frames of the fastest kind over a fast link: on the device, in the cloud, and as the policy plans them.

    Unlike `conditions.measure_conditions`, this counts the emulated link's own delays as overhead, too.

    Args:
        emulated: the fleet.
        policy: a preset's name, or FILE.py:CLASS; its planning time is measured.
        model: the model.
        engine: runs it for the device.
        cloud: the fleet's cloud.
    """
    fleet = emulated.fleet
    kind = min(fleet.kinds, key=lambda kind: emulated.slowdowns[kind.name])
    worker = SlowedWorker(LocalWorker(model, engine), emulated.slowdowns[kind.name])
    warm_up(worker, model.shape)

    def series(name: str, sla_s: float) -> _Series:
        return _series(emulated, kind, name, sla_s, model, worker, cloud)

    local, sent = series(_LOCAL_POLICY, _LONG_SLA_S), series(_SENDING_POLICY, _LONG_SLA_S)
    planned = series(policy, kind.sla_s)
    requests = [_request_s(outcome) for outcome in sent.outcomes]
    overhead = Overhead(
        prepare_s=statistics.median(outcome.measured.prepare_s for outcome in planned.outcomes),
        plan_s=statistics.median(outcome.measured.plan_s for outcome in planned.outcomes),
        request_s=max(0.0, statistics.median(requests)),
        queue_s=statistics.median(outcome.measured.queue_s for outcome in sent.outcomes),
        request_bytes=REQUEST_BYTES,
    )
    alone_s = full_batch_s(fleet.cloud.costs, fleet.shape, 1)
    ratios = tuple(outcome.measured.cloud_s / alone_s for outcome in sent.outcomes)
    noise = Noise(compute_ratios(local.outcomes, local.platforms)[0], ratios)
    need = CpuNeed(planned.need.device_s + local.need.device_s, sent.need.cloud_s)
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
    return Conditions(overhead, Noise(one.device + other.device, one.cloud + other.cloud, one.seed))


def _request_s(outcome: Outcome) -> float:
    """Time from sending to the reply that neither the link nor the cloud took."""
    sent_s = (outcome.size_bytes + REQUEST_BYTES) * 8e-6 / _LINK_MBPS
    return outcome.measured.send_s + outcome.measured.rtt_s - _RTT_S - sent_s


def _series(
    emulated: EmulatedFleet,
    kind: DeviceKind,
    policy: str,
    sla_s: float,
    model: Model,
    worker: SlowedWorker,
    cloud: CloudProcess,
) -> _Series:
    with EmulatedLink(LinkSpec(trace_from(_LINK, 1.0, 0), delay_s=_RTT_S / 2), "127.0.0.1", cloud.port) as link:
        transport = GrpcTransport(link.address, expected_outputs(model))
        try:
            met = shake_hands(model, transport, link.address, kind.profile, DeviceConfig())
            platforms = replace(met, accuracy=emulated.fleet.accuracy)
            device = Device(worker, transport, make_policy(policy, platforms), sla_s)
            outcomes = []
            before, began_s = cloud.usage(), time.process_time()
            for sample in islice(cycle(open_stream(BUILTIN, model.preprocessing.frames)), _FRAMES):
                time.sleep(_PAUSE_S)
                outcomes.append(device.infer(sample.frame))
            used_s, used = time.process_time() - began_s, cloud.usage().since(before)
        finally:
            transport.close()
    return _Series(outcomes[_WARM_UP:], platforms, CpuNeed(used_s / _FRAMES, used.cpu_s / _FRAMES))
