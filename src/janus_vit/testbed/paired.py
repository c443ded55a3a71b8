"""Runs one policy over one trace twice, live and simulated, and compares the two."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import make_policy
from janus_vit.records.summary import Summary, expected_in_time, summarise
from janus_vit.runtime.pacing import frames_taken
from janus_vit.simulation.conditions import Conditions
from janus_vit.simulation.simulate import simulate
from janus_vit.sources.frames import Source
from janus_vit.testbed.conditions import measure_conditions
from janus_vit.testbed.gap_analysis import Comparison, compute_ratios, late_gap, time_gap
from janus_vit.testbed.rig import Rig

_SIMULATIONS = 5  # streams simulated with different seeds
_LEAST_COMPUTE = 0.1  # share of the SLA; a shorter predicted compute time does not count for the drift


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """Link, deadline and camera, the same for every policy.

    Attributes:
        trace: the uplink's rate over time.
        rtt_s: round trip of the link alone.
        sla_s: time allowed for each frame.
        duration_s: length of each policy's run.
        period_s: time between frames of a camera, whose newest frame is run; None runs frames back to back.
        images_allowed: False keeps pixels on the device.
    """

    trace: Trace
    rtt_s: float
    sla_s: float
    duration_s: float
    period_s: float | None = None
    images_allowed: bool = True


@dataclass(frozen=True, slots=True)
class PairedRuns:
    """Outcomes of one policy, live and simulated.

    Attributes:
        policy: a preset's name, or FILE.py:CLASS.
        live: outcomes of the live run.
        simulated: outcomes of the simulation.
        labels: true classes of the live frames; None where unknown.
        platforms: both machines and the link, as both policies knew them at the start.
    """

    policy: str
    live: tuple[Outcome, ...]
    simulated: tuple[Outcome, ...]
    labels: tuple[int | None, ...]
    platforms: Platforms


def run_paired(
    rig: Rig,
    policy: str,
    settings: BenchSettings,
    source: Source,
    progress: Callable[[float], None] = lambda share: None,
) -> PairedRuns:
    """Run one policy live, then simulate the same stream.

    The simulation takes two things from the live run: the trace's position at the first frame, and what the policy had
    observed of the link by then. Everything else is measured before. Compute is noisy, so several streams are simulated
    with different seeds, and the one with the median mean latency is returned.

    Args:
        rig: runs the frames.
        policy: a preset's name, or FILE.py:CLASS.
        settings: link, deadline and camera.
        source: frames; repeated from the first when they run out.
        progress: called with the share of the live run that is done.
    """
    conditions = measure_conditions(rig, policy, settings.sla_s, settings.images_allowed, source)
    with (
        rig.open_link() as link,
        rig.connected(link.address, policy, settings.sla_s, settings.images_allowed) as session,
    ):
        begin_s, steps = link.elapsed_s, []
        for step in session.run(link, cycle(source), settings.duration_s, settings.period_s):
            steps.append(step)
            progress(min(1.0, step.elapsed_s / settings.duration_s))
    streams = [
        _simulated(policy, session.platforms, settings, begin_s, conditions, seed) for seed in range(_SIMULATIONS)
    ]
    simulated = sorted(streams, key=_mean_s)[_SIMULATIONS // 2]
    outcomes, labels = tuple(step.outcome for step in steps), tuple(step.label for step in steps)
    return PairedRuns(policy, outcomes, simulated, labels, session.platforms)


def _simulated(
    policy: str, platforms: Platforms, settings: BenchSettings, begin_s: float, conditions: Conditions, seed: int
) -> tuple[Outcome, ...]:
    outcomes = simulate(
        make_policy(policy, platforms),
        replace(platforms, rtt_s=settings.rtt_s),
        settings.trace,
        settings.sla_s,
        settings.duration_s,
        settings.period_s,
        begin_s=begin_s,
        overhead=conditions.overhead,
        noise=replace(conditions.noise, seed=seed),
    )
    return tuple(outcomes)


def _mean_s(outcomes: Sequence[Outcome]) -> float:
    return statistics.fmean(outcome.measured.total_s for outcome in outcomes)


def compare(runs: PairedRuns, settings: BenchSettings) -> Comparison:
    """Compare the live run of a pair with its simulation."""
    live, simulated = runs.live, runs.simulated
    taken = frames_taken(len(simulated), settings.duration_s, settings.period_s)
    simulated_summary = _summary(simulated, (), taken)
    if runs.platforms.accuracy is not None:
        right = expected_in_time(simulated, taken, runs.platforms.accuracy)
        simulated_summary = replace(simulated_summary, in_time_accuracy=right)
    device_ratios, cloud_ratios = compute_ratios(live, runs.platforms, least_s=_LEAST_COMPUTE * settings.sla_s)
    return Comparison(
        policy=runs.policy,
        live=_summary(live, runs.labels, frames_taken(len(live), settings.duration_s, settings.period_s)),
        simulated=simulated_summary,
        time_parts=time_gap(live, simulated),
        late_parts=late_gap(live, simulated),
        device_ratios=device_ratios,
        cloud_ratios=cloud_ratios,
    )


def _summary(outcomes: Sequence[Outcome], labels: Sequence[int | None], taken: int) -> Summary:
    summary = summarise(outcomes, labels, taken)
    assert summary is not None, "a stream of some duration has a frame"
    return summary
