"""Settings of a comparison beyond the paper: more policies, deadlines, device speeds and links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from janus_vit.links.generator import SCENARIOS, trace_from
from janus_vit.links.traces import Trace
from janus_vit.planning.platforms import Platforms
from janus_vit.reproduction.published import SHAPES, assumed_accuracy, published_profile
from janus_vit.simulation.bounds import all_plans
from janus_vit.simulation.compare import BEST_FIXED, ORACLE
from janus_vit.simulation.oracle import Oracle
from janus_vit.simulation.results import Case, payload_kind

MODEL = "vit-large-384"
RTT_S = 0.03
PLAN_KINDS = ("the device alone", "an image to the cloud", "splitting")  # in the order of `results.PAYLOAD_KINDS`
OPEN_POLICIES = (
    ORACLE,
    "adaptive",
    BEST_FIXED,
    "janus-all",
    "janus-compact",
    "janus",
    "split-only",
    "cloud-jpeg",
    "cloud-jpeg75",
    "cloud-jpeg50",
    "cloud-only",
    "mixed",
    "device-only",
)
# Without the policies that send images; "adaptive" then sends tokens only.
PRIVATE_POLICIES = tuple(name for name in OPEN_POLICIES if not name.startswith("cloud") and name != "mixed")


@dataclass(frozen=True, slots=True)
class Setting:
    """Machines on both sides, deadline, and whether images may be sent.

    Attributes:
        sla_s: time allowed for each frame; also the camera's period.
        device: speed of the device relative to the Orin Nano.
        cloud: speed of the cloud relative to the V100.
        private: whether pixels stay on the device.
    """

    sla_s: float = 0.3
    device: float = 1.0
    cloud: float = 1.0
    private: bool = False

    def __str__(self) -> str:
        pixels = "private" if self.private else "images allowed"
        return f"SLA {1e3 * self.sla_s:g} ms, device x{self.device:g}, cloud x{self.cloud:g}, {pixels}"

    @property
    def policies(self) -> tuple[str, ...]:
        """Policies that can run in this setting."""
        return PRIVATE_POLICIES if self.private else OPEN_POLICIES

    def platforms(self, trace: Trace) -> Platforms:
        """Return both sides; the trace's mean is the bandwidth that policies know before the first frame."""
        device = published_profile("orin-nano", MODEL).slowed(1 / self.device)
        cloud = published_profile("v100", MODEL).slowed(1 / self.cloud)
        accuracy = assumed_accuracy(MODEL)
        return Platforms(SHAPES[MODEL], device, cloud, trace.mean_mbps, RTT_S, accuracy, not self.private)

    def case(self, policy: str, trace: Trace, duration_s: float) -> Case:
        """Return one policy on one link; the camera's period is the SLA."""
        return Case(policy, self.platforms(trace), trace, self.sla_s, duration_s, self.sla_s)


def sweeps() -> Iterator[Setting]:
    """Yield the base setting and variations of one value at a time, each with and without images."""
    base = Setting()
    settings = [base]
    settings += [replace(base, sla_s=sla_s) for sla_s in (0.05, 0.1, 0.15, 0.2, 0.5, 1.0)]
    settings += [replace(base, device=speed) for speed in (0.1, 0.3, 3.0, 10.0)]
    settings += [replace(base, cloud=speed) for speed in (0.5, 0.2)]
    for setting in settings:
        yield setting
        yield replace(setting, private=True)


def generated_links(duration_s: float, seed: int = 1) -> list[Trace]:
    """Generate one link of each scenario."""
    return [trace_from(name, duration_s, seed) for name in SCENARIOS]


def best_of_each_kind(setting: Setting, trace: Trace, duration_s: float, frames: int = 100) -> tuple[float, ...]:
    """Return what the best fixed plan of each of `PLAN_KINDS` achieves on an idle device and link.

    Args:
        setting: machines, deadline and privacy.
        trace: the uplink's rate over time.
        duration_s: length of the stream.
        frames: number of frames, evenly spaced.

    Returns:
        The share that is right and in time, for each kind; -1 for a kind that the setting does not allow.
    """
    platforms = setting.platforms(trace)
    table, worth = all_plans(platforms)
    captured_s = np.linspace(0.0, duration_s, frames, endpoint=False)
    value = worth * Oracle(table, trace, platforms.rtt_s).share_in_time(captured_s, setting.sla_s)
    kinds = np.array([payload_kind(table.plan(0, column)) for column in range(len(table.options))])
    return tuple(float(value[:, kinds == kind].max(initial=-1.0)) for kind in range(len(PLAN_KINDS)))
