"""Results of a fleet as rows of a table, JSON and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from janus_vit.fleet.bound import BoundDevice, fleet_bound
from janus_vit.fleet.contenders import measured_plans
from janus_vit.fleet.results import DROPPED
from janus_vit.fleet.simulate import FleetRun
from janus_vit.fleet.spec import Fleet, Member
from janus_vit.fleet.streams import ticks_s
from janus_vit.simulation.results import PAYLOAD_KINDS

BOUND = "bound"
HEADER = ("devices", "contender", "right", "in time", "p99 ms", "engine", "batch", "refused", "here", "image", "tokens")


@dataclass(frozen=True, slots=True)
class Row:
    """One fleet in numbers; None where a number has no meaning.

    Attributes:
        devices: number of devices.
        contender: how they plan and how the cloud schedules, or the bound.
        right: share of all frames that are answered right and in time.
        in_time: share that is answered in time.
        p99_s: 99th percentile of the latency of the frames that ran.
        engine: share of the time in which the engine runs.
        batch: mean frames in a batch, weighted by its seconds.
        refused: share of the frames that the cloud refused.
        kinds: share of frames by `simulation.results.PAYLOAD_KINDS`.
    """

    devices: int
    contender: str
    right: float
    in_time: float | None = None
    p99_s: float | None = None
    engine: float | None = None
    batch: float | None = None
    refused: float | None = None
    kinds: tuple[float, ...] = ()

    def cells(self) -> tuple[str, ...]:
        """Text for each column of `HEADER`."""

        def percent(share: float | None) -> str:
            return "-" if share is None else f"{100 * share:.1f}"

        p99 = "-" if self.p99_s is None else f"{1e3 * self.p99_s:.0f}"
        batch = "-" if self.batch is None else f"{self.batch:.1f}"
        kinds = [percent(share) for share in self.kinds] or ["-"] * len(PAYLOAD_KINDS)
        shares = percent(self.right), percent(self.in_time)
        return (
            str(self.devices),
            self.contender,
            *shares,
            p99,
            percent(self.engine),
            batch,
            percent(self.refused),
            *kinds,
        )

    def as_json(self) -> dict[str, Any]:
        """One object with all numbers."""
        values = asdict(self)
        kinds = values.pop("kinds") or [None] * len(PAYLOAD_KINDS)
        return values | dict(zip(("here", "image", "tokens"), kinds, strict=True))


def summarise(name: str, count: int, run: FleetRun) -> Row:
    """Sum up a simulated fleet."""
    frames = run.frames
    ran_s = frames.total_s[(frames.kind != DROPPED) & np.isfinite(frames.total_s)]
    return Row(
        devices=count,
        contender=name,
        right=float(frames.value.mean()),
        in_time=float(frames.in_time.mean()),
        p99_s=float(np.percentile(ran_s, 99)) if len(ran_s) else None,
        engine=run.busy,
        batch=run.mean_batch,
        refused=run.refused,
        kinds=tuple(float((frames.kind == kind).mean()) for kind in range(len(PAYLOAD_KINDS))),
    )


def bound_of(fleet: Fleet, drawn: Sequence[Member], duration_s: float, warm_up_s: float = 0.0) -> Row:
    """The most that any policy and scheduler could reach with these devices, see `fleet.bound`.

    Args:
        fleet: model and cloud.
        drawn: the devices.
        duration_s: when their cameras end.
        warm_up_s: frames that are captured earlier are left out.
    """
    plans = {}
    devices = []
    for member in drawn:
        if member.kind.name not in plans:
            plans[member.kind.name] = measured_plans(member.platforms(fleet))
        table, accuracy = plans[member.kind.name]
        captured_s = np.array([at_s for at_s in ticks_s(member) if at_s >= warm_up_s]) + member.begin_s
        kind = member.kind
        devices.append(BoundDevice(table, accuracy, member.trace, kind.rtt_s, kind.sla_s, captured_s))
    bound = fleet_bound(devices, fleet.cloud.costs, fleet.cloud.config, duration_s - warm_up_s)
    return Row(len(drawn), BOUND, bound.mean, engine=bound.engine_share)


def frames_csv(name: str, drawn: Sequence[Member], run: FleetRun, header: bool) -> list[str]:
    """Every frame of a run as a line of CSV."""
    frames = run.frames
    lines = ["devices,contender,device,captured_s,total_s,sla_s,accuracy,sent,split,fell_back\n"] if header else []
    for index, device in enumerate(frames.device):
        kind = frames.kind[index]
        total_s = f"{frames.total_s[index]:.6f}" if np.isfinite(frames.total_s[index]) else ""
        lines.append(
            f"{len(drawn)},{name},{drawn[device].name},{frames.captured_s[index]:.6f},{total_s},"
            f"{frames.sla_s[index]:g},{frames.accuracy[index]:.6f},"
            f"{'dropped' if kind == DROPPED else PAYLOAD_KINDS[kind]},{frames.split[index]},"
            f"{int(frames.fell_back[index])}\n"
        )
    return lines
