"""The paper's evaluation: its four policies as the paper ran them, on recorded uplinks.

Differences from the product: the device waits for the cloud as long as it takes, frames come back to back, tensors are
compressed losslessly by a fixed ratio at no cost, and policies predict block times with straight lines. `Assumptions`
holds what the paper does not say; `ALTERNATIVES` varies one assumption at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from janus_vit.links.traces import Trace
from janus_vit.planning.latency import Cost, PlatformProfile
from janus_vit.planning.link import HarmonicMean
from janus_vit.planning.outcome import Outcome, Transfer
from janus_vit.planning.payloads import LOCAL, LOSSLESS_SUFFIX
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.algorithm1 import SmallestLevel
from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.planning.policies.presets import policy_table
from janus_vit.planning.table import Option, PlanTable, build_table
from janus_vit.reproduction.published import SHAPES, assumed_accuracy, published_profile
from janus_vit.simulation.results import Case, FrameResults, run_policy
from janus_vit.simulation.simulate import simulate
from janus_vit.wire.fields import LONGEST_WAIT_S

POLICIES = ("device-only", "cloud-only", "mixed", "janus")
NAMES = ("Device-Only", "Cloud-Only", "Mixed", "Janus")
SLA_S = {"image": 0.3, "video": 0.6}
MODELS = {"image": "vit-large-384", "video": "st-mae-large"}
RTT_S = {"lte": 0.0422, "5g": 0.01705}
OFFLINE_MBPS = {"lte": 7.6, "5g": 14.7}  # mean bandwidths from the paper's motivation
# Fig. 7: violations in % and inferences per second, in the order of POLICIES.
FIGURE_7 = {
    ("image", "lte"): ((100, 56, 56, 3.3), (3.0, 2.9, 3.3, 3.67)),
    ("image", "5g"): ((100, 50, 50, 1.1), (3.0, 4.2, 5.0, 5.0)),
    ("video", "lte"): ((100, 100, 100, 1.7), (0.93, 0.55, 0.93, 2.81)),
    ("video", "5g"): ((100, 84, 84, 10.5), (0.93, 0.81, 1.17, 2.40)),
}


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the paper does not say.

    Attributes:
        bandwidth: how the bandwidth B is estimated while frames stay on the device. "monitor" always knows the link,
            "probe" sends 16 kB every half second, "hold" keeps the last value.
        window: number of observations in the harmonic mean; for "monitor", tenths of a second.
        ratio: compressed by plain size of a tensor.
        round_trips: round trips that a transfer takes.
        weight: whether each "run" or each "frame" has the same weight in the means.
    """

    bandwidth: str = "monitor"
    window: int = 10
    ratio: float = 0.87
    round_trips: float = 1.0
    weight: str = "run"


ALTERNATIVES: dict[str, Assumptions] = {
    "as assumed": Assumptions(),
    "B after a local frame: probes": Assumptions(bandwidth="probe", window=5),
    "B after a local frame: the last one seen": Assumptions(bandwidth="hold", window=5),
    "B over a tenth of a second": Assumptions(window=1),
    "B over five seconds": Assumptions(window=50),
    "tensors not compressed": Assumptions(ratio=1.0),
    "tensors compressed to half": Assumptions(ratio=0.5),
    "tensors compressed to a quarter": Assumptions(ratio=0.25),
    "half a round trip": Assumptions(round_trips=0.5),
    "no round trip": Assumptions(round_trips=0.0),
    "each frame counts alike": Assumptions(weight="frame"),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """The metrics of the paper, for one policy over many runs.

    Attributes:
        violations: share of late inferences.
        fps: inferences per second.
        deviation: mean of max(0, (latency - SLA) / SLA).
        accuracy: mean accuracy by `published.assumed_accuracy`; NaN where it is unknown.
        level: mean pruning level.
    """

    violations: float
    fps: float
    deviation: float
    accuracy: float
    level: float


class MonitoredBandwidth(HarmonicMean):
    """A bandwidth that is always known: the harmonic mean of the trace's last rates.

    Args:
        trace: the uplink's rate over time.
        window: number of rates, a tenth of a second apart.
    """

    def __init__(self, trace: Trace, window: int) -> None:
        super().__init__(1.0, window)
        self._monitored_mbps = 1.0
        self._trace = trace
        self._window = window

    def observe(self, transfer: Transfer) -> None:
        """Ignore transfers; the bandwidth is known."""

    def look(self, now_s: float) -> None:
        """Update the estimate with the trace's rates before `now_s`."""
        times_s = now_s - 0.1 * np.arange(1, self._window + 1)
        rates = [self._trace.rate_at(float(max(at_s, 0.0))) for at_s in times_s]
        self._monitored_mbps = len(rates) / sum(1 / max(rate, 1e-3) for rate in rates)

    @property
    def rate_mbps(self) -> float:
        """Current estimate in 10^6 bit/s."""
        return self._monitored_mbps


class PublishedPolicy:
    """A policy of the paper. It never finishes on the device a frame that it sent to the cloud.

    Args:
        table: the policy's plans.
        link: bandwidth estimate.
        rtt_s: round trip before the first transfer.
        probes: whether the policy sends probes.
    """

    def __init__(self, table: PlanTable, link: HarmonicMean, rtt_s: float, probes: bool) -> None:
        self._policy = SmallestLevel(table, link, rtt_s)
        self._link = link
        self._probes = probes

    def observe(self, outcome: Outcome) -> None:
        """See `Policy.observe`."""
        self._policy.observe(outcome)

    def choose(self, situation: Situation) -> Decision:
        """See `Policy.choose`."""
        if isinstance(self._link, MonitoredBandwidth):
            self._link.look(situation.now_s)
        decision = self._policy.choose(situation)
        # With a very long time to finish on the device, the device waits for the cloud as long as it can.
        waiting = replace(decision.predicted, finish_s=LONGEST_WAIT_S)
        return replace(decision, predicted=waiting, probe_bytes=decision.probe_bytes if self._probes else 0)


def platforms(kind: str, network: str, assumptions: Assumptions) -> Platforms:
    """Return the paper's device and cloud, with compressed tensors.

    Args:
        kind: a key of `MODELS`.
        network: a key of `RTT_S`.
        assumptions: what the paper does not say.
    """
    model = MODELS[kind]
    device, cloud = (_with_ratio(published_profile(name, model), assumptions.ratio) for name in ("orin-nano", "v100"))
    rtt_s = assumptions.round_trips * RTT_S[network]
    return Platforms(SHAPES[model], device, cloud, OFFLINE_MBPS[network], rtt_s, assumed_accuracy(model))


def _with_ratio(profile: PlatformProfile, ratio: float) -> PlatformProfile:
    names = [name + LOSSLESS_SUFFIX for name in ("float32", "tensor")]
    costs = {**profile.encode, **{name: Cost(0.0, 0.0) for name in names}}
    return replace(profile, encode=costs, decode=costs, lossless_ratio=dict.fromkeys(names, ratio))


def policy(name: str, both: Platforms, trace: Trace, assumptions: Assumptions) -> Policy:
    """Make one of the paper's policies for one run.

    Args:
        name: one of `POLICIES`.
        both: both sides.
        trace: the uplink of the run.
        assumptions: what the paper does not say.
    """
    planned = policy_table(name, both)
    options = [
        option if option.payload == LOCAL else Option(option.split, option.payload + LOSSLESS_SUFFIX)
        for option in planned.options
    ]
    table = build_table(both.shape, planned.schedules, options, both.device, both.cloud, "line")
    link = HarmonicMean(both.rate_mbps, assumptions.window)
    if assumptions.bandwidth == "monitor":
        link = MonitoredBandwidth(trace, assumptions.window)
    return PublishedPolicy(table, link, both.rtt_s, assumptions.bandwidth == "probe")


def run(name: str, kind: str, network: str, trace: Trace, assumptions: Assumptions) -> FrameResults:
    """Simulate one policy over a whole run of the dataset; see `platforms` and `policy` for the arguments."""
    both = platforms(kind, network, assumptions)
    return run_policy(policy(name, both, trace, assumptions), Case(name, both, trace, SLA_S[kind], trace.duration_s))


def outcomes(name: str, kind: str, network: str, trace: Trace, assumptions: Assumptions) -> list[Outcome]:
    """Do the same as `run`, and return the outcome of each frame."""
    both = platforms(kind, network, assumptions)
    chosen = policy(name, both, trace, assumptions)
    return list(simulate(chosen, both, trace, SLA_S[kind], trace.duration_s, waits_idly=True))


def figures(runs: Sequence[FrameResults], weight: str) -> Figures:
    """Compute the paper's metrics over many runs.

    Args:
        runs: results of one policy.
        weight: see `Assumptions.weight`.
    """
    rows = []
    for frames in runs:
        deviation = np.maximum(0.0, frames.total_s / frames.sla_s - 1)
        stream_s = frames.at_s[-1] + frames.total_s[-1]
        rows.append(
            (
                float(frames.late.mean()),
                len(frames.at_s) / stream_s,
                float(deviation.mean()),
                float(frames.accuracy.mean()),
                float(frames.level.mean()),
            )
        )
    weights = None if weight == "run" else [len(frames.at_s) for frames in runs]
    return Figures(*(float(value) for value in np.average(rows, axis=0, weights=weights)))
