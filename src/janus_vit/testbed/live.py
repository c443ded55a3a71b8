"""One trace twice: live, by real processes over a real or emulated link, and simulated; then held side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.policies.presets import Platforms, make_policy
from janus_vit.records.summary import Summary, expected_in_time, summarise
from janus_vit.runtime.pacing import frames_taken
from janus_vit.simulation.conditions import Noise, Overhead
from janus_vit.simulation.simulate import simulate
from janus_vit.sources.frames import Source
from janus_vit.testbed.gaps import Comparison, compute_ratios, late_gap, time_gap
from janus_vit.testbed.rig import Rig

_FRAMES, _WARM_UP = 30, 4  # of each look at the runtime
_LIMIT_S = 4.0  # for it, once there are frames after the warm-up
_PAUSE_S = 0.01  # between its frames, as the profiler's
_NEVER_SENDS, _ALWAYS_SENDS = "device-only", "cloud-jpeg"
_SEEDS = 5  # simulated streams
_WEIGHTY = 0.1  # of the SLA; shorter compute may err without being worth a word
_PATIENT_S = 30.0
_REQUEST_BYTES = 120  # of the message's other fields and gRPC's headers, as counted by the emulated link


@dataclass(frozen=True, slots=True)
class Trial:
    """What every policy is put through.

    Attributes:
        trace: of the uplink. rtt_s: round trip of the link alone. sla_s: time allowed. duration_s: of each policy.
        period_s: of a camera whose newest frame is run; None: frames back to back.
        images_allowed: False keeps pixels on the device.
    """

    trace: Trace
    rtt_s: float
    sla_s: float
    duration_s: float
    period_s: float | None = None
    images_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Twins:
    """The outcomes of one policy, live and simulated.

    Attributes:
        labels: true classes of the live frames. platforms: what both policies knew at the start.
    """

    policy: str
    live: tuple[Outcome, ...]
    simulated: tuple[Outcome, ...]
    labels: tuple[int | None, ...]
    platforms: Platforms


def run_twins(
    rig: Rig, policy: str, trial: Trial, source: Source, progress: Callable[[float], None] = lambda share: None
) -> Twins:
    """Run one policy live, then simulate the same stream.

    The simulation takes from the live run only its conditions: when the first frame began in the trace, and what the
    policy had seen of the link by then. All else was measured before. Compute is noisy: several streams are simulated,
    and the one with the middle mean latency is taken.

    Args:
        source: frames; after the last the first comes again. progress: told the share of the live run that is done.
    """
    runtime = measure_runtime(rig, policy, trial, source)
    with rig.open_link() as link, rig.connected(link.address, policy, trial.sla_s, trial.images_allowed) as session:
        begin_s, steps = link.elapsed_s, []
        for step in session.run(link, cycle(source), trial.duration_s, trial.period_s):
            steps.append(step)
            progress(min(1.0, step.elapsed_s / trial.duration_s))
    streams = [_simulated(policy, session.platforms, trial, begin_s, runtime, seed) for seed in range(_SEEDS)]
    simulated = sorted(streams, key=_mean_s)[_SEEDS // 2]
    outcomes, labels = tuple(step.outcome for step in steps), tuple(step.label for step in steps)
    return Twins(policy, outcomes, simulated, labels, session.platforms)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a few frames over no link have shown just before a run."""

    overhead: Overhead
    noise: Noise


def measure_runtime(rig: Rig, policy: str, trial: Trial, source: Source) -> Runtime:
    """Run a few frames over no link, wholly on the device, wholly in the cloud, and as the policy likes it.

    What a frame takes beside compute is the overhead; how its compute differs from the profiles is the noise.
    """
    local, platforms = _frames_over_no_link(rig, _NEVER_SENDS, _PATIENT_S, True, source)
    sent, _ = _frames_over_no_link(rig, _ALWAYS_SENDS, _PATIENT_S, True, source)
    chosen, _ = _frames_over_no_link(rig, policy, trial.sla_s, trial.images_allowed, source)
    overhead = Overhead(
        prepare_s=statistics.median(outcome.measured.prepare_s for outcome in chosen),
        plan_s=statistics.median(outcome.measured.plan_s for outcome in chosen),
        request_s=statistics.median(outcome.measured.send_s + outcome.measured.rtt_s for outcome in sent),
        queue_s=statistics.median(outcome.measured.queue_s for outcome in sent),
        request_bytes=_REQUEST_BYTES,
    )
    return Runtime(overhead, Noise(compute_ratios(local, platforms)[0], compute_ratios(sent, platforms)[1], seed=0))


def _simulated(
    policy: str, platforms: Platforms, trial: Trial, begin_s: float, runtime: Runtime, seed: int
) -> tuple[Outcome, ...]:
    outcomes = simulate(
        make_policy(policy, platforms),
        replace(platforms, rtt_s=trial.rtt_s),
        trial.trace,
        trial.sla_s,
        trial.duration_s,
        trial.period_s,
        begin_s=begin_s,
        overhead=runtime.overhead,
        noise=replace(runtime.noise, seed=seed),
    )
    return tuple(outcomes)


def _mean_s(outcomes: Sequence[Outcome]) -> float:
    return statistics.fmean(outcome.measured.total_s for outcome in outcomes)


def compare(twins: Twins, trial: Trial) -> Comparison:
    """Hold both runs side by side."""
    live, simulated = twins.live, twins.simulated
    taken = frames_taken(len(simulated), trial.duration_s, trial.period_s)
    predicted = _summary(simulated, (), taken)
    if twins.platforms.accuracy is not None:
        right = expected_in_time(simulated, taken, twins.platforms.accuracy)
        predicted = replace(predicted, in_time_accuracy=right)
    return Comparison(
        twins.policy,
        _summary(live, twins.labels, frames_taken(len(live), trial.duration_s, trial.period_s)),
        predicted,
        time_gap(live, simulated),
        late_gap(live, simulated),
        *compute_ratios(live, twins.platforms, least_s=_WEIGHTY * trial.sla_s),
    )


def _summary(outcomes: Sequence[Outcome], labels: Sequence[int | None], taken: int) -> Summary:
    summary = summarise(outcomes, labels, taken)
    assert summary is not None, "a stream of some duration has a frame"
    return summary


def _frames_over_no_link(
    rig: Rig, policy: str, sla_s: float, images_allowed: bool, source: Source
) -> tuple[list[Outcome], Platforms]:
    outcomes: list[Outcome] = []
    with rig.connected(rig.address, policy, sla_s, images_allowed) as session:
        began_s = time.perf_counter()
        for sample in islice(cycle(source), _FRAMES):
            time.sleep(_PAUSE_S)
            outcomes.append(session.device.infer(sample.frame))
            if len(outcomes) > 2 * _WARM_UP and time.perf_counter() - began_s > _LIMIT_S:
                break
    return outcomes[_WARM_UP:], session.platforms
