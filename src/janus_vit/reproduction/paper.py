"""The paper's evaluation again: its four policies, as it ran them, on recorded uplinks.

Where this differs from the product: a device waits for the cloud as long as it takes, frames come back to back, tensors
are losslessly compressed by a fixed ratio at no cost, and policies predict with straight lines. Where the paper is
silent, `Silent` says what is assumed; `SPREAD` lists what else could be.
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
from janus_vit.wire.messages import LONGEST_WAIT_S

POLICIES = ("device-only", "cloud-only", "mixed", "janus")
NAMES = ("Device-Only", "Cloud-Only", "Mixed", "Janus")
SLA_S = {"image": 0.3, "video": 0.6}
MODELS = {"image": "vit-large-384", "video": "st-mae-large"}
RTT_S = {"lte": 0.0422, "5g": 0.01705}
OFFLINE_MBPS = {"lte": 7.6, "5g": 14.7}  # means that the paper gives in its motivation
# Fig. 7: violations in % and throughput a second, in the order of POLICIES.
FIGURE_7 = {
    ("image", "lte"): ((100, 56, 56, 3.3), (3.0, 2.9, 3.3, 3.67)),
    ("image", "5g"): ((100, 50, 50, 1.1), (3.0, 4.2, 5.0, 5.0)),
    ("video", "lte"): ((100, 100, 100, 1.7), (0.93, 0.55, 0.93, 2.81)),
    ("video", "5g"): ((100, 84, 84, 10.5), (0.93, 0.81, 1.17, 2.40)),
}


@dataclass(frozen=True, slots=True)
class Silent:
    """What the paper does not say.

    Attributes:
        bandwidth: what B is while frames stay on the device: "monitor" sees the link all the time, "probe" sends 16 kB
            every half second, "hold" keeps the last value for ever.
        window: how many observations the harmonic mean is of; of a monitor, tenths of a second.
        ratio: size of a tensor after lossless compression, relative. round_trips: that a transfer pays.
        weight: whether each "run" counts alike, or each "frame".
    """

    bandwidth: str = "monitor"
    window: int = 10
    ratio: float = 0.87
    round_trips: float = 1.0
    weight: str = "run"


SPREAD: dict[str, Silent] = {
    "as assumed": Silent(),
    "B after a local frame: probes": Silent(bandwidth="probe", window=5),
    "B after a local frame: the last one seen": Silent(bandwidth="hold", window=5),
    "B over a tenth of a second": Silent(window=1),
    "B over five seconds": Silent(window=50),
    "tensors not compressed": Silent(ratio=1.0),
    "tensors compressed to half": Silent(ratio=0.5),
    "tensors compressed to a quarter": Silent(ratio=0.25),
    "half a round trip": Silent(round_trips=0.5),
    "no round trip": Silent(round_trips=0.0),
    "each frame counts alike": Silent(weight="frame"),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What the paper reports of one policy over many runs.

    Attributes:
        violations: share of late inferences. fps: inferences a second. deviation: mean of max(0, (t - SLA) / SLA).
        accuracy: as `published.assumed_accuracy` has it, NaN where nothing is known. level: mean pruning level.
    """

    violations: float
    fps: float
    deviation: float
    accuracy: float
    level: float


class Monitored(HarmonicMean):
    """A bandwidth that is known all the time: the harmonic mean of the trace's last steps."""

    def __init__(self, trace: Trace, window: int) -> None:
        super().__init__(1.0, window)
        self._trace = trace
        self._window = window

    def observe(self, transfer: Transfer) -> None:
        """Transfers tell nothing new."""

    def look(self, now_s: float) -> None:
        """See the link until now."""
        times_s = now_s - 0.1 * np.arange(1, self._window + 1)
        rates = [self._trace.rate_at(float(max(at_s, 0.0))) for at_s in times_s]
        self._rate_mbps = len(rates) / sum(1 / max(rate, 1e-3) for rate in rates)

    @property
    def rate_mbps(self) -> float:
        """Current estimate in 10^6 bit/s."""
        return self._rate_mbps


class AsPublished:
    """One of the paper's policies, which never finishes a frame of the cloud's on the device."""

    def __init__(self, table: PlanTable, link: HarmonicMean, rtt_s: float, probes: bool) -> None:
        self._policy = SmallestLevel(table, link, rtt_s)
        self._link = link
        self._probes = probes

    def observe(self, outcome: Outcome) -> None:
        """See `Policy`."""
        self._policy.observe(outcome)

    def choose(self, situation: Situation) -> Decision:
        """See `Policy`."""
        if isinstance(self._link, Monitored):
            self._link.look(situation.now_s)
        decision = self._policy.choose(situation)
        # As if finishing here took for ever: the device then waits for the cloud as long as it can.
        patient = replace(decision.predicted, finish_s=LONGEST_WAIT_S)
        return replace(decision, predicted=patient, probe_bytes=decision.probe_bytes if self._probes else 0)


def platforms(kind: str, network: str, silent: Silent) -> Platforms:
    """The paper's device and cloud with its compressed tensors."""
    model = MODELS[kind]
    device, cloud = (_with_ratio(published_profile(name, model), silent.ratio) for name in ("orin-nano", "v100"))
    rtt_s = silent.round_trips * RTT_S[network]
    return Platforms(SHAPES[model], device, cloud, OFFLINE_MBPS[network], rtt_s, assumed_accuracy(model))


def _with_ratio(profile: PlatformProfile, ratio: float) -> PlatformProfile:
    names = [name + LOSSLESS_SUFFIX for name in ("float32", "tensor")]
    costs = {**profile.encode, **{name: Cost(0.0, 0.0) for name in names}}
    return replace(profile, encode=costs, decode=costs, lossless_ratio=dict.fromkeys(names, ratio))


def policy(name: str, both: Platforms, trace: Trace, silent: Silent) -> Policy:
    """A fresh policy of the paper's over one run."""
    planned = policy_table(name, both)
    options = [
        option if option.payload == LOCAL else Option(option.split, option.payload + LOSSLESS_SUFFIX)
        for option in planned.options
    ]
    table = build_table(both.shape, planned.schedules, options, both.device, both.cloud, "line")
    link = HarmonicMean(both.rate_mbps, silent.window)
    if silent.bandwidth == "monitor":
        link = Monitored(trace, silent.window)
    return AsPublished(table, link, both.rtt_s, silent.bandwidth == "probe")


def run(name: str, kind: str, network: str, trace: Trace, silent: Silent) -> FrameResults:
    """One policy over one run of the dataset, from its beginning to its end."""
    both = platforms(kind, network, silent)
    return run_policy(policy(name, both, trace, silent), Case(name, both, trace, SLA_S[kind], trace.duration_s))


def outcomes(name: str, kind: str, network: str, trace: Trace, silent: Silent) -> list[Outcome]:
    """The same, frame by frame."""
    both = platforms(kind, network, silent)
    chosen = policy(name, both, trace, silent)
    return list(simulate(chosen, both, trace, SLA_S[kind], trace.duration_s))


def figures(runs: Sequence[FrameResults], weight: str) -> Figures:
    """What the paper reports, over many runs."""
    rows = []
    for frames in runs:
        deviation = np.maximum(0.0, frames.total_s / frames.sla_s - 1)
        whole_s = frames.at_s[-1] + frames.total_s[-1]
        rows.append(
            (
                float(frames.late.mean()),
                len(frames.at_s) / whole_s,
                float(deviation.mean()),
                float(frames.accuracy.mean()),
                float(frames.level.mean()),
            )
        )
    weights = None if weight == "run" else [len(frames.at_s) for frames in runs]
    return Figures(*(float(value) for value in np.average(rows, axis=0, weights=weights)))
