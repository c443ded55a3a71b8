"""Compares a live fleet with its simulation: figures for each kind of device, and what any difference consists of."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from janus_vit.fleet.results import DROPPED
from janus_vit.planning.outcome import Outcome
from janus_vit.simulation.results import PAYLOAD_KINDS
from janus_vit.testbed.gap_analysis import largest_parts, time_gap
from janus_vit.testbed.live_fleet.paired import FleetSide, PairedFleets

TOLERANCE = 0.10  # of the live figure
WHOLE = "all"
HEADER = (
    "kind", "", "frames", "right %", "in time %", "median ms", "p99 ms", "here %", "image %", "tokens %",
    "fallback %", "wait ms",
)  # fmt: skip
_COMPARED = {"right and in time": "right", "in time": "in_time", "the median": "median_s"}


@dataclass(frozen=True, slots=True)
class Figures:
    """The frames of one kind of device, or of all.

    Attributes:
        frames: number of frames that the cameras took.
        right: share of them that is answered right and in time, by the expected accuracy of the answers.
        in_time: share that is answered in time.
        median_s: median latency of the frames that ran.
        p99_s: 99th percentile of it.
        here: share that was planned to finish on the device.
        image: share that was planned to be sent as an image.
        tokens: share that was planned to be sent as tokens.
        fell_back: share that the device finished although the plan was to send it.
        wait_s: mean wait in the cloud of the frames that it answered; None if it answered none.
    """

    frames: int
    right: float
    in_time: float
    median_s: float
    p99_s: float
    here: float
    image: float
    tokens: float
    fell_back: float
    wait_s: float | None

    def cells(self) -> tuple[str, ...]:
        """Text for the columns of `HEADER` after the first two."""
        shares = self.right, self.in_time
        kinds = self.here, self.image, self.tokens, self.fell_back
        times = self.median_s, self.p99_s
        wait = "-" if self.wait_s is None else f"{1e3 * self.wait_s:.1f}"
        return (
            str(self.frames),
            *(f"{100 * share:.1f}" for share in shares),
            *(f"{1e3 * seconds:.1f}" for seconds in times),
            *(f"{100 * share:.1f}" for share in kinds),
            wait,
        )


@dataclass(frozen=True, slots=True)
class KindComparison:
    """One kind of device, or all, live and simulated.

    Attributes:
        name: of the kind; `WHOLE` for all.
        live: figures of the live run.
        simulated: figures of the simulation.
        parts: what each part adds to the difference of the mean latencies, live minus simulated, in seconds; see
            `gap_analysis.time_gap`.
    """

    name: str
    live: Figures
    simulated: Figures
    parts: Mapping[str, float]

    @property
    def misses(self) -> tuple[str, ...]:
        """One sentence for each figure that differs by more than the tolerance."""
        found = []
        for what, field in _COMPARED.items():
            live, simulated = getattr(self.live, field), getattr(self.simulated, field)
            if abs(live - simulated) > TOLERANCE * live:
                both = f"{_text(field, live)} live and {_text(field, simulated)} simulated"
                found.append(f"{self.name}: {what} is {both}")
        if found:
            found[-1] += f"; of the gap of the mean latencies, {largest_parts(self.parts)} ms"
        return tuple(found)


@dataclass(frozen=True, slots=True)
class FleetComparison:
    """A fleet, live and simulated.

    Attributes:
        devices: number of devices.
        carried: number of devices that the cores carry.
        kinds: each kind of device, then all.
        busy: share of the time in which the cloud's engine ran, live and simulated.
        mean_batch: frames in a batch, weighted by its seconds, live and simulated.
    """

    devices: int
    carried: int
    kinds: tuple[KindComparison, ...]
    busy: tuple[float, float]
    mean_batch: tuple[float, float]

    @property
    def agrees(self) -> bool:
        """Whether the figures of all devices together differ by at most the tolerance."""
        return not self.kinds[-1].misses

    @property
    def misses(self) -> tuple[str, ...]:
        """One sentence for each figure of a kind, or of all, that differs by more than the tolerance."""
        return tuple(miss for kind in self.kinds for miss in kind.misses)

    def as_json(self) -> dict[str, Any]:
        """All numbers."""
        return {
            "devices": self.devices,
            "devices_carried": self.carried,
            "agrees": self.agrees,
            "why_not": list(self.misses),
            "engine_busy": {"live": self.busy[0], "simulated": self.busy[1]},
            "mean_batch": {"live": self.mean_batch[0], "simulated": self.mean_batch[1]},
            "kinds": {
                kind.name: {
                    "live": asdict(kind.live),
                    "simulated": asdict(kind.simulated),
                    "time_parts_s": dict(kind.parts),
                }
                for kind in self.kinds
            },
        }


def compare_fleets(pair: PairedFleets) -> FleetComparison:
    """Compare the two sides, kind by kind and in all."""
    names = list(dict.fromkeys(member.kind.name for member in pair.members))
    groups = {name: [member.kind.name == name for member in pair.members] for name in names}
    groups[WHOLE] = [True] * len(pair.members)
    live, simulated = pair.live, pair.simulated
    return FleetComparison(
        devices=len(pair.members),
        carried=pair.carried,
        kinds=tuple(_compared(name, chosen, pair) for name, chosen in groups.items()),
        busy=(live.busy, simulated.busy),
        mean_batch=(live.mean_batch, simulated.mean_batch),
    )


def _compared(name: str, chosen: Sequence[bool], pair: PairedFleets) -> KindComparison:
    devices = [member.name for member, is_chosen in zip(pair.members, chosen, strict=True) if is_chosen]
    live, simulated = (
        [outcome for device in devices for outcome in side.outcomes.get(device, ())]
        for side in (pair.live, pair.simulated)
    )
    return KindComparison(
        name,
        _figures(pair.live, chosen, live),
        _figures(pair.simulated, chosen, simulated),
        time_gap(live, simulated) if live and simulated else {},
    )


def _figures(side: FleetSide, chosen: Sequence[bool], outcomes: Sequence[Outcome]) -> Figures:
    frames = side.frames.only(np.array(chosen)[side.frames.device])
    ran_s = frames.total_s[frames.kind != DROPPED]
    here, image, tokens = (float((frames.kind == kind).mean()) for kind in range(len(PAYLOAD_KINDS)))
    waits_s = [each.measured.queue_s for each in outcomes if not each.plan.is_local and each.fallback is None]
    return Figures(
        frames=len(frames.device),
        right=float(frames.value.mean()),
        in_time=float(frames.in_time.mean()),
        median_s=float(np.median(ran_s)),
        p99_s=float(np.percentile(ran_s, 99)),
        here=here,
        image=image,
        tokens=tokens,
        fell_back=float(frames.fell_back.mean()),
        wait_s=statistics.fmean(waits_s) if waits_s else None,
    )


def _text(field: str, value: float) -> str:
    return f"{1e3 * value:.1f} ms" if field.endswith("_s") else f"{100 * value:.1f} %"
