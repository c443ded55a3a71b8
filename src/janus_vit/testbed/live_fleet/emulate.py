"""A fleet that this machine can run live: every device, and the cloud, is this machine slowed down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from janus_vit.errors import InputError
from janus_vit.fleet.spec import DeviceKind, Fleet, FleetCloud
from janus_vit.model.catalog import Model
from janus_vit.model.engines.autotune import fastest
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.planning.accuracy.table import FLOAT32, AccuracyTable
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.plan import ModelShape
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable, profile_costs
from janus_vit.scheduling.estimate import full_batch_s
from janus_vit.testbed.slowed_engine import Slowing

_FRAME_S = 0.005  # time of a frame on the machine for which the default fleet was made
_BATCH_FRAMES = 8
_FRAME_SHARE = 0.25  # of the time of a batch of one, for each further frame


@dataclass(frozen=True)
class EmulatedFleet:
    """A fleet whose profiles are this machine's, slowed down.

    Attributes:
        fleet: what runs.
        slowdowns: how many times slower a device is than this machine, by name of its kind.
        cloud: how much slower the cloud is.
    """

    fleet: Fleet
    slowdowns: Mapping[str, float]
    cloud: Slowing


def cpu_engine(model: Model, on_fallback: Callable[[str], None] = lambda message: None) -> Engine:
    """Make the fastest engine whose work is CPU time of the calling thread, which is what can be slowed down.

    Args:
        model: what the engine runs.
        on_fallback: see `make_engine`.
    """
    on_cpu = [spec for spec in ENGINES.values() if spec.on_cpu and spec.precision == FLOAT32]
    return make_engine(model, fastest(model, on_cpu), on_fallback=on_fallback)


def default_fleet(own: PlatformProfile, shape: ModelShape, accuracy: AccuracyTable, cloud_frames: float = 4.0) -> Fleet:
    """Three kinds of devices and a cloud that they fill, for a model that this machine runs in about 5 ms.

    For a larger model, or a slower machine, everything takes longer in proportion, the SLAs and the periods, too.

    Args:
        own: profile of this machine with one thread, in CPU time.
        shape: shape of the model.
        accuracy: accuracy of its configurations.
        cloud_frames: time of a frame in the cloud, by that of a frame on such a machine.
    """
    frame_s = whole_s(own, shape)
    unit_s = max(_FRAME_S, frame_s)

    def kind(name: str, share: float, frames: float, sla: float, period: float, links: tuple[str, ...]) -> DeviceKind:
        profile = own.slowed(frames * unit_s / frame_s)
        return DeviceKind(name, share, profile, sla * unit_s, period * unit_s, links, rtt_s=0.01)

    profile = own.slowed(cloud_frames * unit_s / frame_s)
    times = tuple(1 + _FRAME_SHARE * index for index in range(_BATCH_FRAMES))
    cloud = FleetCloud("an emulated accelerator", profile, _costs(profile, shape, times), CloudConfig(_BATCH_FRAMES))
    kinds = (
        kind("camera", 2.0, 30.0, 30.0, 40.0, ("lte-walking", "constant:8")),
        kind("robot", 1.0, 20.0, 20.0, 25.0, ("5g-walking", "wifi-static")),
        kind("sensor", 1.0, 60.0, 40.0, 60.0, ("lte-driving", "wifi-static")),
    )
    return Fleet(shape, accuracy, cloud, kinds)


def emulate(wanted: Fleet, own: PlatformProfile) -> EmulatedFleet:
    """Slow this machine down to the speeds of a fleet.

    Args:
        wanted: the fleet; of its profiles only the time of a whole frame counts, and of the costs of its cloud how much
            longer a batch takes than a frame.
        own: profile of this machine with one thread, in CPU time.

    Raises:
        InputError: a device or the cloud is faster than this machine.
    """
    shape, cloud = wanted.shape, wanted.cloud
    slowdowns = {kind.name: _slowdown(kind.source or kind.name, kind.profile, own, shape) for kind in wanted.kinds}
    slowing = Slowing(_slowdown(cloud.name, cloud.profile, own, shape), _batch_times(cloud, shape))
    profile = replace(own.slowed(slowing.factor), decode=own.decode)  # decoding is not a part of the engine
    emulated = FleetCloud(cloud.name, profile, _costs(profile, shape, slowing.batch_times), cloud.config)
    kinds = tuple(replace(kind, profile=own.slowed(slowdowns[kind.name])) for kind in wanted.kinds)
    return EmulatedFleet(replace(wanted, cloud=emulated, kinds=kinds), slowdowns, slowing)


def whole_s(profile: PlatformProfile, shape: ModelShape) -> float:
    """Seconds of a whole frame of which nothing is merged."""
    return profile.stem_s + shape.blocks * float(profile.quadratic.seconds(shape.tokens)) + profile.head_s


def _slowdown(name: str, profile: PlatformProfile, own: PlatformProfile, shape: ModelShape) -> float:
    factor = whole_s(profile, shape) / whole_s(own, shape)
    if factor < 1:
        raise InputError(
            f"{name} is {1 / factor:.1f} times faster than this machine with one thread, which live runs can only "
            "slow down: leave out --live, or use slower profiles"
        )
    return factor


def _batch_times(cloud: FleetCloud, shape: ModelShape) -> tuple[float, ...]:
    """Time of a batch by that of one frame, for all sizes that are allowed."""
    one_s = full_batch_s(cloud.costs, shape, 1)
    sizes = range(1, cloud.config.max_batch_frames + 1)
    return tuple(full_batch_s(cloud.costs, shape, frames) / one_s for frames in sizes)


def _costs(profile: PlatformProfile, shape: ModelShape, batch_times: tuple[float, ...]) -> CostTable:
    """Costs of an engine whose batches of 1, 2, 3 ... frames take so many times as long as one frame."""
    one = profile_costs(profile, shape)
    return replace(
        one,
        frames=tuple(range(1, len(batch_times) + 1)),
        block_s=tuple(tuple(times * seconds for seconds in one.block_s[0]) for times in batch_times),
        stem_s=tuple(times * one.stem_s[0] for times in batch_times),
        head_s=tuple(times * one.head_s[0] for times in batch_times),
        merge_s=tuple(times * one.merge_s[0] for times in batch_times),
    )
