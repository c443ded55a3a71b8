"""Simulates a fleet: live device loops, live policies and the live scheduler, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from janus_vit.fleet.contenders import Contender, Maker, jpeg_plan, make_cloud, policy_maker
from janus_vit.fleet.results import FleetFrames, collect
from janus_vit.fleet.shared_cloud.world import World
from janus_vit.fleet.spec import Fleet, Member
from janus_vit.fleet.streams import OnOutcome, Stream, run_device, run_plain_client
from janus_vit.simulation.conditions import EXACT, Conditions
from janus_vit.simulation.costs import Costs

_REPORTS = 100  # of the progress


@dataclass(frozen=True)
class FleetRun:
    """A simulated fleet.

    Attributes:
        frames: what became of them.
        busy: share of the time in which the engine ran.
        mean_batch: frames in a batch, weighted by its seconds; 0 if none ran.
        refused: share of the frames that the cloud refused.
        prices: time and price in right answers per engine second, after each batch.
    """

    frames: FleetFrames
    busy: float
    mean_batch: float
    refused: float
    prices: Sequence[tuple[float, float]]


def simulate_fleet(
    fleet: Fleet,
    drawn: Sequence[Member],
    chosen: Contender,
    warm_up_s: float = 0.0,
    progress: Callable[[float], None] = lambda share: None,
    conditions: Conditions = EXACT,
    on_outcome: OnOutcome = lambda member, outcome: None,
) -> FleetRun:
    """Run all devices until their cameras end. The same devices give the same run.

    Args:
        fleet: model and cloud.
        drawn: the devices, see `spec.members`.
        chosen: how devices plan and how the cloud schedules.
        warm_up_s: frames that are captured earlier are left out of the results.
        progress: called with the share of the time that has passed.
        conditions: how the fleet differs from its profiles; plain clients do not.
        on_outcome: called for each frame that the live device loop runs.
    """
    world = World()
    cloud = make_cloud(chosen, fleet, world, conditions.noise)
    streams = [Stream(member) for member in drawn]
    known: dict[str, tuple[Costs, Maker | None]] = {}
    for stream in streams:
        kind, platforms = stream.member.kind, stream.member.platforms(fleet)
        if kind.name not in known:
            known[kind.name] = Costs(platforms), policy_maker(chosen, platforms) if chosen.policy else None
        costs, maker = known[kind.name]
        if maker is None:
            run_plain_client(stream, jpeg_plan(platforms), fleet, costs, cloud, world)
        else:
            run_device(stream, maker(platforms), fleet, costs, cloud, world, conditions, on_outcome)
    duration_s = max(member.active[-1][1] for member in drawn)
    for step in range(1, _REPORTS + 1):
        world.at(step / _REPORTS * duration_s, lambda share=step / _REPORTS: progress(share))  # type: ignore[misc]
    world.run()
    frames = collect(streams, fleet.accuracy)
    refused = cloud.refused / len(frames.device)
    return FleetRun(
        frames=frames.since(warm_up_s),
        busy=cloud.busy_s / duration_s,
        mean_batch=cloud.frames_s / cloud.busy_s if cloud.busy_s else 0.0,
        refused=refused,
        prices=tuple(cloud.prices),
    )
