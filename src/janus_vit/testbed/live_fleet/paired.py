"""Runs a fleet live, and simulates the same fleet.

The simulation gets the same devices, links and costs, and what was measured of overhead and noise before and after the
live run, but none of its results.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from janus_vit.errors import InputError
from janus_vit.fleet.contenders import Contender, Serving
from janus_vit.fleet.results import FleetFrames, collect
from janus_vit.fleet.simulate import simulate_fleet
from janus_vit.fleet.spec import Member, members
from janus_vit.fleet.streams import Stream, frame_record
from janus_vit.planning.outcome import Outcome
from janus_vit.simulation.conditions import Conditions
from janus_vit.testbed.live_fleet.conditions import pooled
from janus_vit.testbed.live_fleet.rig import FleetRig, LiveRun, cores, devices_carried

_SIMULATIONS = 3  # with different noise


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """A live run.

    Attributes:
        devices: number of devices; None for as many as the cores carry.
        duration_s: length of the run.
        warm_up_s: frames that are captured earlier are left out of the results.
        seed: of links, cameras and noise.
    """

    devices: int | None
    duration_s: float
    warm_up_s: float
    seed: int


@dataclass(frozen=True)
class FleetSide:
    """A fleet that ran, live or simulated.

    Attributes:
        frames: what became of them.
        outcomes: of the frames that ran, by name of the device.
        busy: share of the time in which the cloud's engine ran.
        mean_batch: frames in a batch, weighted by its seconds; 0 if none ran.
    """

    frames: FleetFrames
    outcomes: Mapping[str, Sequence[Outcome]]
    busy: float
    mean_batch: float


@dataclass(frozen=True)
class PairedFleets:
    """The same fleet live and simulated.

    Attributes:
        members: the devices.
        live: the live run.
        simulated: the simulation.
        carried: devices that the cores carry.
    """

    members: Sequence[Member]
    live: FleetSide
    simulated: FleetSide
    carried: int


def run_paired_fleets(
    rig: FleetRig, settings: FleetSettings, progress: Callable[[float, str], None] = lambda share, step: None
) -> PairedFleets:
    """Run a fleet live, then simulate it.

    Of several simulations with different noise, the one with the median mean latency is returned.

    Args:
        rig: runs the devices.
        settings: the run.
        progress: called with the share that is done and the present step.

    Raises:
        InputError: the cores do not carry so many devices, or a link is shorter than the run.
        JanusError: a process failed.
    """
    progress(0.0, "measuring a few frames")
    before = rig.measure()
    carried = devices_carried(rig.fleet, before.need)
    drawn = _draw(rig, settings, carried)
    progress(0.15, "connecting devices")
    live = rig.run(drawn, before.need, settings.duration_s, lambda share: progress(0.3 + 0.5 * share, "live"))
    progress(0.8, "measuring a few frames")
    conditions = pooled(before.conditions, rig.measure().conditions)
    sides = []
    for index in range(_SIMULATIONS):
        progress(0.9 + 0.1 * index / _SIMULATIONS, "simulating")
        noise = replace(conditions.noise, seed=settings.seed + index)
        sides.append(_simulated(rig, live.members, settings, replace(conditions, noise=noise)))
    simulated = sorted(sides, key=_mean_s)[_SIMULATIONS // 2]
    return PairedFleets(live.members, _live(rig, live, settings), simulated, carried)


def _draw(rig: FleetRig, settings: FleetSettings, carried: int) -> list[Member]:
    count = max(1, carried) if settings.devices is None else settings.devices
    if count > carried:
        advice = f"use at most {carried}" if carried else "use slower cameras or a smaller model"
        raise InputError(
            f"--devices {count} is too many: {cores()} cores carry {carried} devices of this fleet live: {advice}"
        )
    return members(rig.fleet, count, settings.duration_s, settings.seed)


def _live(rig: FleetRig, run: LiveRun, settings: FleetSettings) -> FleetSide:
    frames = collect([_stream(member, run.outcomes[member.name]) for member in run.members], rig.fleet.accuracy)
    mean_batch = run.used.frames_s / run.used.busy_s if run.used.busy_s else 0.0
    return _after_warm_up(FleetSide(frames, run.outcomes, run.used.busy_s / settings.duration_s, mean_batch), settings)


def _stream(member: Member, outcomes: Sequence[Outcome]) -> Stream:
    """A live device's frames, with the times at which its camera should have captured them."""
    period_s, phase_s = member.kind.period_s, member.phase_s
    due_s = [phase_s + period_s * round((outcome.at_s - phase_s) / period_s) for outcome in outcomes]
    return Stream(member, [frame_record(outcome, at_s) for outcome, at_s in zip(outcomes, due_s, strict=True)])


def _simulated(rig: FleetRig, drawn: Sequence[Member], settings: FleetSettings, conditions: Conditions) -> FleetSide:
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    run = simulate_fleet(
        rig.fleet,
        drawn,
        Contender(rig.policy, Serving.LIVE, "as live"),
        conditions=conditions,
        on_outcome=lambda member, outcome: outcomes[member.name].append(outcome),
    )
    return _after_warm_up(FleetSide(run.frames, outcomes, run.busy, run.mean_batch), settings)


def _after_warm_up(side: FleetSide, settings: FleetSettings) -> FleetSide:
    """Leave out the frames of the warm-up; the cloud's figures are of the whole run."""
    kept = {
        name: [outcome for outcome in stream if outcome.at_s >= settings.warm_up_s]
        for name, stream in side.outcomes.items()
    }
    return replace(side, frames=side.frames.since(settings.warm_up_s), outcomes=kept)


def _mean_s(side: FleetSide) -> float:
    return statistics.fmean(outcome.measured.total_s for stream in side.outcomes.values() for outcome in stream)
