"""What a fleet is: kinds of devices with their links, and a cloud. Reading it from a file is in `fleet.file`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from janus_vit.errors import InputError
from janus_vit.links.generator import SCENARIOS, trace_from
from janus_vit.links.traces import Trace
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.platforms import Platforms
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable

_DRAWN_LINKS = 8  # different traces of one generated link; devices begin at random places of them
_GENERATED_S = 300.0


@dataclass(frozen=True, slots=True)
class FleetCloud:
    """A cloud that serves the fleet.

    Attributes:
        name: for tables.
        profile: latency of single frames; devices plan with it.
        costs: seconds of batches.
        config: limits of its scheduler.
    """

    name: str
    profile: PlatformProfile
    costs: CostTable
    config: CloudConfig = field(default_factory=CloudConfig)


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """Devices that are equal but for their links.

    Attributes:
        name: for tables and records.
        share: how many of them there are, relative to the other kinds.
        profile: latency of the device.
        sla_s: time allowed for each frame.
        period_s: time between two frames of the camera.
        links: traces, scenarios or rates as in `links.generator.trace_from`; each device has one of them.
        rtt_s: round trip.
        source: file and field of this kind, for error messages.
    """

    name: str
    share: float
    profile: PlatformProfile
    sla_s: float
    period_s: float
    links: tuple[str, ...]
    rtt_s: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Kinds of devices, and the cloud that they share.

    Attributes:
        shape: shape of the model.
        accuracy: accuracy of its configurations.
        cloud: the cloud.
        kinds: the devices.
    """

    shape: ModelShape
    accuracy: AccuracyTable
    cloud: FleetCloud
    kinds: tuple[DeviceKind, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One device of a fleet.

    Attributes:
        name: unique.
        kind: what it is.
        trace: rates of its uplink.
        begin_s: place in the trace at which the run begins.
        phase_s: when its camera takes the first frame.
        active: times from and to which its camera runs.
        seen: rate in Mbps and round trip in seconds that it measured when it connected; None: those of its link.
    """

    name: str
    kind: DeviceKind
    trace: Trace
    begin_s: float
    phase_s: float
    active: tuple[tuple[float, float], ...]
    seen: tuple[float, float] | None = None

    def platforms(self, fleet: Fleet) -> Platforms:
        """What the device knows before its first frame."""
        rate_mbps, rtt_s = self.seen or (self.trace.mean_mbps, self.kind.rtt_s)
        return Platforms(
            shape=fleet.shape,
            device=self.kind.profile,
            cloud=fleet.cloud.profile,
            rate_mbps=rate_mbps,
            rtt_s=rtt_s,
            accuracy=fleet.accuracy,
            entry_blocks=fleet.cloud.config.announced(fleet.shape.blocks),
        )


def members(fleet: Fleet, count: int, duration_s: float, seed: int) -> list[Member]:
    """Draw the devices of a fleet; equal arguments give equal devices.

    Every kind gets its share of the devices, and every link of a kind gets an equal share of that.

    Raises:
        InputError: there are no devices, a link cannot be used, or a recorded link is shorter than the run.
    """
    if count < 1:
        raise InputError(f"devices is {count}: simulate at least 1")
    random = Random(f"fleet {seed}")
    links = {
        kind.name: [_traces(kind, index, duration_s, seed) for index in range(len(kind.links))] for kind in fleet.kinds
    }
    drawn: list[Member] = []
    for kind, number in zip(fleet.kinds, _apportion(fleet.kinds, count), strict=True):
        for index in range(number):
            traces = links[kind.name][index % len(kind.links)]
            trace = traces[random.randrange(len(traces))]
            begin_s = random.uniform(0.0, max(0.0, trace.duration_s - duration_s))
            phase_s = random.uniform(0.0, kind.period_s)
            name = f"{kind.name}-{index}"
            drawn.append(Member(name, kind, trace, begin_s, phase_s, ((0.0, duration_s),)))
    return drawn


def with_absence(drawn: Sequence[Member], from_s: float, to_s: float) -> list[Member]:
    """Let every second device be away between two times: a step in load, down and up."""
    return [
        replace(member, active=((0.0, from_s), (to_s, member.active[-1][1]))) if index % 2 else member
        for index, member in enumerate(drawn)
    ]


def _traces(kind: DeviceKind, index: int, duration_s: float, seed: int) -> list[Trace]:
    """The traces from which devices with one of a kind's links draw theirs."""
    link = kind.links[index]
    where = f"{kind.source}.links[{index}]" if kind.source else f"kind {kind.name}: link {index}"
    try:
        if link in SCENARIOS:
            seeds = [zlib.crc32(f"{link} {seed} {number}".encode()) for number in range(_DRAWN_LINKS)]
            return [trace_from(link, max(_GENERATED_S, 2 * duration_s), each) for each in seeds]
        trace = trace_from(link, duration_s, seed)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if trace.duration_s < duration_s:
        raise InputError(
            f"{where}: {link} lasts {trace.duration_s:g} s and the run {duration_s:g} s: "
            "use a longer trace or fewer seconds"
        )
    return [trace]


def _apportion(kinds: Sequence[DeviceKind], count: int) -> list[int]:
    """Split a number of devices among kinds by their shares, by largest remainders."""
    total = sum(kind.share for kind in kinds)
    exact = [count * kind.share / total for kind in kinds]
    numbers = [int(each) for each in exact]
    by_remainder = sorted(range(len(kinds)), key=lambda index: numbers[index] - exact[index])
    for index in by_remainder[: count - sum(numbers)]:
        numbers[index] += 1
    return numbers
