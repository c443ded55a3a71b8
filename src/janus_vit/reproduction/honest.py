"""The comparison that the paper left out: settings, policies and what wins where. Made of `compare`."""

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
KINDS = ("the device alone", "an image to the cloud", "splitting")
OPEN = (
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
# Without pixels on the network; "adaptive" may then send tokens only.
PRIVATE = (ORACLE, "adaptive", BEST_FIXED, "janus-all", "janus-compact", "janus", "split-only", "device-only")


@dataclass(frozen=True, slots=True)
class Setting:
    """What stands on both sides and how long a frame may take.

    Attributes:
        device: speed relative to the Orin Nano. cloud: relative to the V100. private: pixels stay on the device.
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
        """Those that can run here."""
        return PRIVATE if self.private else OPEN

    def platforms(self, trace: Trace) -> Platforms:
        """Both sides, and the link's mean as what is known of it before."""
        device = published_profile("orin-nano", MODEL).slowed(1 / self.device)
        cloud = published_profile("v100", MODEL).slowed(1 / self.cloud)
        accuracy = assumed_accuracy(MODEL)
        return Platforms(SHAPES[MODEL], device, cloud, trace.mean_mbps, RTT_S, accuracy, not self.private)

    def case(self, policy: str, trace: Trace, seconds: float) -> Case:
        """One policy on one link; a camera takes a frame each SLA."""
        return Case(policy, self.platforms(trace), trace, self.sla_s, seconds, self.sla_s)


def sweeps() -> Iterator[Setting]:
    """One thing varied at a time, each with and without images."""
    base = Setting()
    around = [base]
    around += [replace(base, sla_s=sla_s) for sla_s in (0.05, 0.1, 0.15, 0.2, 0.5, 1.0)]
    around += [replace(base, device=speed) for speed in (0.1, 0.3, 3.0, 10.0)]
    around += [replace(base, cloud=speed) for speed in (0.5, 0.2)]
    for setting in around:
        yield setting
        yield replace(setting, private=True)


def generated(seconds: float, seed: int = 1) -> list[Trace]:
    """A link of each scenario of the generator."""
    return [trace_from(name, seconds, seed) for name in SCENARIOS]


def best_of_each_kind(setting: Setting, trace: Trace, seconds: float, frames: int = 100) -> tuple[float, ...]:
    """What the best fixed plan of each of `KINDS` is worth: right and in time, on an idle device and link.

    -1 for a kind that may not be used.
    """
    platforms = setting.platforms(trace)
    table, worth = all_plans(platforms)
    captured_s = np.linspace(0.0, seconds, frames, endpoint=False)
    value = worth * Oracle(table, trace, platforms.rtt_s).share_in_time(captured_s, setting.sla_s)
    kinds = np.array([payload_kind(table.plan(0, column)) for column in range(len(table.options))])
    return tuple(float(value[:, kinds == kind].max(initial=-1.0)) for kind in range(len(KINDS)))
