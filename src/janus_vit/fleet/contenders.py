"""Ways to run a fleet, by name: how devices plan, and how the cloud schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from janus_vit.errors import InputError
from janus_vit.fleet.shared_cloud.served_cloud import FleetScheduler, ServedCloud
from janus_vit.fleet.shared_cloud.world import World
from janus_vit.fleet.spec import Fleet
from janus_vit.planning.latency import Floats
from janus_vit.planning.link import RateForecast
from janus_vit.planning.plan import Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.adaptive import MostAccurateInTime
from janus_vit.planning.policies.base import Policy
from janus_vit.planning.policies.presets import policy_over, policy_table
from janus_vit.planning.price import CloudLoad
from janus_vit.planning.table import PlanTable
from janus_vit.scheduling.job import Batch
from janus_vit.scheduling.scheduler import Scheduler
from janus_vit.simulation.arrivals import table_engine
from janus_vit.simulation.baseline_schedulers import FixedDelay, OneAtATime
from janus_vit.simulation.bounds import all_plans
from janus_vit.simulation.conditions import Noise
from janus_vit.simulation.replay import Engine

Maker = Callable[[Platforms], Policy]
_PAUSE_S = 1e-3  # after which an engine's caches are cold


class Serving(Enum):
    """How the cloud schedules."""

    LIVE = "the live scheduler"
    ONE_BY_ONE = "one frame after the other, in order of arrival"
    TRITON_SMALL = "batches of 4 or 8 frames of one entry block, after 5 ms at most"
    TRITON_LARGE = "batches of 8, 16 or 32 frames of one entry block, after 10 ms at most"


_TRITON = {Serving.TRITON_SMALL: (0.005, (4, 8)), Serving.TRITON_LARGE: (0.010, (8, 16, 32))}


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to run a fleet.

    Attributes:
        policy: how devices plan; None for plain clients, which send every frame as a JPEG.
        serving: how the cloud schedules.
        keeps: which plans the policy may choose from; None for all.
        about: in a sentence.
    """

    policy: str | None
    serving: Serving
    about: str
    keeps: Callable[[PlanTable], PlanTable] | None = None


def _only(keeps: Callable[[int], bool]) -> Callable[[PlanTable], PlanTable]:
    """Keep the plans whose split fulfils a condition."""

    def kept(table: PlanTable) -> PlanTable:
        return table.only([index for index, option in enumerate(table.options) if keeps(option.split)])

    return kept


def _locally(table: PlanTable) -> PlanTable:
    return _only(lambda split: split > table.shape.blocks)(table)


def _not_locally(table: PlanTable) -> PlanTable:
    return _only(lambda split: split <= table.shape.blocks)(table)


_FLEET = "adaptive-fleet"
CONTENDERS = {
    "jpeg-one-by-one": Contender(None, Serving.ONE_BY_ONE, "JPEGs to a cloud without batches"),
    "jpeg-batches-8": Contender(None, Serving.TRITON_SMALL, "JPEGs to dynamic batching as in Triton, up to 8 frames"),
    "jpeg-batches-32": Contender(None, Serving.TRITON_LARGE, "JPEGs to dynamic batching as in Triton, up to 32 frames"),
    "jpeg-scheduler": Contender(None, Serving.LIVE, "JPEGs to our scheduler"),
    "device-alone": Contender("adaptive", Serving.LIVE, "everything on the device", _locally),
    "janus": Contender("janus", Serving.ONE_BY_ONE, "the paper's policy on each device, without load"),
    "merging": Contender(_FLEET, Serving.LIVE, "images, merged in the cloud", _only(lambda split: split == 0)),
    "splitting": Contender(_FLEET, Serving.LIVE, "all plans but those that finish locally", _not_locally),
    "adaptive": Contender("adaptive", Serving.LIVE, "each device for itself"),
    _FLEET: Contender(_FLEET, Serving.LIVE, "each device weighs the price of the engine"),
}
BATCHED_JPEG = ("jpeg-batches-8", "jpeg-batches-32")


def contender(name: str) -> Contender:
    """Look up a contender.

    Raises:
        InputError: there is none of that name.
    """
    if name not in CONTENDERS:
        raise InputError(f"contender {name!r} is unknown: use one of {', '.join(CONTENDERS)}")
    return CONTENDERS[name]


def make_cloud(chosen: Contender, fleet: Fleet, world: World, noise: Noise) -> ServedCloud:
    """Make the fleet's cloud with the contender's scheduler.

    Args:
        chosen: how it schedules.
        fleet: has its costs.
        world: its time.
        noise: noise in the times of its batches.
    """
    blocks, cloud = fleet.shape.blocks, fleet.cloud
    engine = _noisy(table_engine(cloud.costs, blocks, cloud.config.max_batch_frames), noise, world)
    if chosen.serving is Serving.LIVE:
        scheduler = Scheduler(cloud.costs, blocks, cloud.config)

        def load(now_s: float) -> CloudLoad:
            found = scheduler.load(now_s)
            return CloudLoad(found.expected_wait_s, found.price)

        return ServedCloud(world, scheduler, engine, load)
    return ServedCloud(world, _other_scheduler(chosen.serving, fleet), engine)


def _noisy(exact: Engine, noise: Noise, world: World) -> Engine:
    """Make an engine whose times vary around the exact ones."""
    cold, warm = noise.cloud_factor(), noise.warm_cloud_factor()
    ended_s = -_PAUSE_S

    def engine(batch: Batch) -> float:
        nonlocal ended_s
        factor = warm() if world.now_s < ended_s + _PAUSE_S else cold()
        seconds = exact(batch) * factor
        ended_s = world.now_s + seconds
        return seconds

    return engine


def policy_maker(chosen: Contender, platforms: Platforms) -> Maker:
    """Return what makes the policies of equal devices; they share one table of plans.

    Args:
        chosen: has a policy.
        platforms: of one of the devices.
    """
    name = chosen.policy
    assert name is not None, "plain clients have no policy"
    table = policy_table(name, platforms)
    if chosen.keeps is not None:
        table = chosen.keeps(table)
    first = policy_over(table, name, platforms)
    if isinstance(first, MostAccurateInTime):  # thousands of devices share its arrays
        return lambda own: first.twin(RateForecast(own.rate_mbps), own.rtt_s)
    return lambda own: policy_over(table, name, own)


def jpeg_plan(platforms: Platforms) -> Plan:
    """The plan of plain clients: a JPEG to the cloud, nothing merged."""
    return policy_table("cloud-jpeg", platforms).plan(0, 0)


def measured_plans(platforms: Platforms) -> tuple[PlanTable, Floats]:
    """Every plan at every split point, with the actual times, and the accuracy of each, [levels, options]."""
    return all_plans(replace(platforms, entry_blocks=()))


def _other_scheduler(serving: Serving, fleet: Fleet) -> FleetScheduler:
    depth, most = fleet.shape.blocks, fleet.cloud.config.max_batch_frames
    if serving is Serving.ONE_BY_ONE:
        return OneAtATime(depth)
    delay_s, sizes = _TRITON[serving]
    return FixedDelay(depth, delay_s, [size for size in sizes if size <= most] or [most])
