"""The most frames that a fleet can answer right and in time, by any policy and scheduler that know the links' future.

1. Each frame is judged as if its device, link and cloud were idle, as in `simulation.oracle`. So it has a set of plans
   that are in time, each with a value, its accuracy, and the least engine seconds that it costs in any batch.
2. All frames share the engines. Their seconds add up to no more than the clouds have until the last deadline. This is
   the only thing that they share, and a frame may be divided among plans: a linear program, see `linear_program`.

So no frame waits for another one, batches are as efficient as they can be, and an engine that waits loses nothing. Real
fleets reach less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError
from janus_vit.fleet.linear_program import Choices, Solution, solve
from janus_vit.links.traces import Trace
from janus_vit.planning.latency import Floats
from janus_vit.planning.table import PlanTable
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable
from janus_vit.simulation.least_costs import LeastCosts, cloud_work

SAMPLED_FRAMES = 20_000  # of a larger fleet
_CHUNK_FRAMES = 128  # whose transfers are computed together
_NEARLY_S = 1e-9  # rounding of times
_Key = tuple[int, int, int, float, float]


@dataclass(frozen=True)
class BoundDevice:
    """One device of the fleet. Devices whose tables are the same objects are computed together.

    Attributes:
        table: every plan, with measured times (curve "measured") and all splits.
        accuracy: accuracy of each plan, 0 where it is unknown, [levels, options].
        trace: rates of its uplink.
        rtt_s: round trip.
        sla_s: time allowed for each frame.
        captured_s: times in the trace at which frames are captured, [frames].
        rescued: accuracy of each plan if the device finishes it with the rescue schedule, [levels, options]; None:
            fallbacks are no better than local plans.
    """

    table: PlanTable
    accuracy: Floats
    trace: Trace
    rtt_s: float
    sla_s: float
    captured_s: Floats
    rescued: Floats | None = None

    @property
    def key(self) -> _Key:
        """What is equal for devices that have the same plans."""
        return id(self.table), id(self.accuracy), id(self.rescued), self.rtt_s, self.sla_s


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a fleet can reach.

    Attributes:
        mean: share of all frames that can be right and in time.
        answers_per_engine_s: right answers that one more engine second would give; 0 if the engines are not full.
        engine_share: share of the engines' time that is used.
        without_engine: share that the devices reach alone.
        unlimited_engine: share with engines that take no time from each other.
        frames: frames that were computed.
        standard_error: of `mean`, if these frames are a sample; 0 if they are all.
    """

    mean: float
    answers_per_engine_s: float
    engine_share: float
    without_engine: float
    unlimited_engine: float
    frames: int
    standard_error: float


def fleet_bound(
    devices: Sequence[BoundDevice],
    costs: CostTable,
    config: CloudConfig,
    duration_s: float,
    clouds: int = 1,
    sampled_frames: int = SAMPLED_FRAMES,
) -> Bound:
    """Compute the bound.

    Of more than `sampled_frames` frames, one is drawn from each of so many equal parts. The result is then an estimate
    of the bound, with a standard error.

    Args:
        devices: all of them.
        costs: seconds of batches on one cloud.
        config: limits of one cloud; only the largest batch counts.
        duration_s: time in which the frames are captured.
        clouds: number of equal clouds.
        sampled_frames: frames to compute at most.

    Raises:
        InputError: no device captures a frame.
    """
    total = sum(len(device.captured_s) for device in devices)
    if not total:
        raise InputError("no device of the fleet captures a frame: simulate a longer time or more devices")
    limit_s = clouds * (duration_s + max(device.sla_s for device in devices)) / total
    least = LeastCosts(costs, devices[0].table.shape, config.max_batch_frames)
    frames = _Frames(devices, least, sampled_frames)
    best = _lowest(frames, least, limit_s)
    return Bound(
        mean=best.value,
        answers_per_engine_s=best.price,
        engine_share=best.engine_s / limit_s if limit_s else 0.0,
        without_engine=best.alone,
        unlimited_engine=best.unlimited,
        frames=frames.count,
        standard_error=float(best.deviation * np.sqrt((1 - frames.count / total) / frames.count)),
    )


def _lowest(frames: _Frames, least: LeastCosts, limit_s: float) -> Solution:
    """Solve with one line of the least costs after the other; each gives a bound.

    The line that is exact at the mean tokens of the optimum gives the lowest bound, or nearly so.
    """
    found: dict[int, Solution] = {}
    line = len(least.lines) - 1
    while line not in found:
        found[line] = solve(frames.choices(line), limit_s)
        if found[line].block_tokens:
            line = least.line_at(found[line].block_tokens)
    return min(found.values(), key=lambda each: each.value)


class _Frames:
    """All frames with their plans that are in time.

    Args:
        devices: all of them.
        least: least seconds of their plans in the cloud.
        most: frames to compute at most.

    Attributes:
        count: number of frames that are computed.
    """

    def __init__(self, devices: Sequence[BoundDevice], least: LeastCosts, most: int) -> None:
        self.count = 0
        self._plans: dict[_Key, _Plans] = {}
        rows: dict[_Key, list[NDArray[np.uint8]]] = {}
        for device, captured_s in _sampled(devices, most):
            self.count += len(captured_s)
            if device.key not in rows:
                self._plans[device.key], rows[device.key] = _useful_plans(device, least), []
            for first in range(0, len(captured_s), _CHUNK_FRAMES):
                possible = _in_time(self._plans[device.key], device, captured_s[first : first + _CHUNK_FRAMES])
                rows[device.key].append(np.packbits(possible, axis=1))
        self._sets = {key: np.unique(np.concatenate(each), axis=0, return_counts=True) for key, each in rows.items()}

    def choices(self, line: int) -> list[Choices]:
        """Return the frames of equal devices, with engine seconds by one line."""
        found = []
        for key, (packed, frames) in self._sets.items():
            plans = self._plans[key]
            possible = np.unpackbits(packed, axis=1, count=len(plans.value)).astype(bool)
            engine_s = plans.engine_s[line]
            found.append(Choices(plans.value, engine_s, plans.blocks, plans.tokens, possible, frames.astype(float)))
        return found


def _sampled(devices: Sequence[BoundDevice], most: int) -> Iterator[tuple[BoundDevice, Floats]]:
    """Yield devices with those of their frames that are computed."""
    ends = np.cumsum([len(device.captured_s) for device in devices])
    total = int(ends[-1])
    drawn = np.arange(total)
    if total > most:
        within = np.random.default_rng(0).random(most)  # fixed steps could be those of the cameras
        drawn = ((np.arange(most) + within) * total / most).astype(int)
    owners = np.searchsorted(ends, drawn, side="right")
    firsts = np.searchsorted(owners, np.arange(len(devices) + 1))
    for device, end, first, last in zip(devices, ends, firsts[:-1], firsts[1:], strict=True):
        if last > first:
            yield device, device.captured_s[drawn[first:last] - (end - len(device.captured_s))]


@dataclass(frozen=True)
class _Plans:
    """Plans of equal devices, without those that others make useless. The last one is the best without a cloud.

    Attributes:
        before_s: time until the payload is sent, [plans].
        size_bytes: size of the payload, [plans].
        after_s: time from the payload's arrival to the answer, in an idle cloud, [plans].
        value: accuracy, [plans].
        engine_s: least engine seconds by each line, [lines, plans].
        blocks: blocks in the cloud, [plans].
        tokens: effective tokens of these blocks, added up, [plans].
    """

    before_s: Floats
    size_bytes: Floats
    after_s: Floats
    value: Floats
    engine_s: Floats
    blocks: Floats
    tokens: Floats


def _useful_plans(device: BoundDevice, least: LeastCosts) -> _Plans:
    table, work, value = device.table, cloud_work(device.table), device.accuracy
    before_s, size_bytes = table.device_s + table.encode_s, np.round(table.size_bytes)
    after_s = device.rtt_s + table.decode_s + least.latency_s(work)
    engine_s = np.stack([least.engine_s(work, line) for line in least.lines])
    alone = _best_alone(device)
    useful = (size_bytes > 0) & (value > alone) & (before_s + after_s < device.sla_s)
    keep = np.flatnonzero(useful)
    costs = np.stack([each.ravel()[keep] for each in (before_s, size_bytes, after_s, *engine_s)])
    keep = keep[_undominated(costs, value.ravel()[keep])]

    def kept(values: Floats, last: float = 0.0) -> Floats:
        return np.append(values.ravel()[keep], last)

    return _Plans(
        before_s=kept(before_s),
        size_bytes=kept(size_bytes),
        after_s=kept(after_s),
        value=kept(value, alone),
        engine_s=np.stack([kept(each) for each in engine_s]),
        blocks=kept(work.blocks),
        tokens=kept(work.tokens),
    )


def _best_alone(device: BoundDevice) -> float:
    """Accuracy of the best answer that the device can give in time without the cloud; 0 if it can give none."""
    table, allowed_s = device.table, device.sla_s + _NEARLY_S
    local = (table.size_bytes == 0) & (table.device_s <= allowed_s)
    best = float(device.accuracy[local].max(initial=0.0))
    if device.rescued is None:
        return best
    return float(device.rescued[table.device_s + table.finish_s <= allowed_s].max(initial=best))


def _undominated(costs: Floats, value: Floats) -> NDArray[np.int64]:
    """Return the plans to which no other one is better or equal in everything.

    Args:
        costs: the lower the better, [criteria, plans].
        value: the higher the better, [plans].
    """
    kept = np.empty_like(costs)
    found: list[int] = []
    for plan in np.lexsort((costs.sum(axis=0), -value)):  # only earlier ones can be better
        if not (kept[:, : len(found)] <= costs[:, plan : plan + 1]).all(axis=0).any():
            kept[:, len(found)] = costs[:, plan]
            found.append(int(plan))
    return np.array(found, int)


def _in_time(plans: _Plans, device: BoundDevice, captured_s: Floats) -> NDArray[np.bool_]:
    """Return which plans are in time for each frame, [frames, plans]."""
    sent_s = captured_s[:, None] + plans.before_s
    arrived_s = device.trace.finish_times(sent_s, np.broadcast_to(plans.size_bytes, sent_s.shape))
    in_time = arrived_s - captured_s[:, None] + plans.after_s <= device.sla_s + _NEARLY_S
    in_time[:, -1] = True
    return np.asarray(in_time)
