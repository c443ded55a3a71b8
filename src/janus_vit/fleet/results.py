"""What became of the frames of a simulated fleet, as arrays with one entry for every frame that a camera took."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from janus_vit.fleet.streams import Stream, ticks_s
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.latency import Floats
from janus_vit.planning.plan import Plan
from janus_vit.simulation.results import payload_kind

Ints = NDArray[np.int64]
DROPPED = -1


@dataclass(frozen=True)
class FleetFrames:
    """All frames, device by device, in order of capture. Arrays are [frames]; a dropped frame has no answer.

    Attributes:
        device: index of the device.
        sla_s: time allowed.
        captured_s: time of capture.
        total_s: from capture to answer; infinite without one.
        accuracy: expected accuracy of the answer.
        kind: what was sent, as an index into `simulation.results.PAYLOAD_KINDS`; -1 for a dropped frame.
        split: split point.
        fell_back: whether the device finished a frame that it had sent, or meant to send.
    """

    device: Ints
    sla_s: Floats
    captured_s: Floats
    total_s: Floats
    accuracy: Floats
    kind: Ints
    split: Ints
    fell_back: NDArray[np.bool_]

    @property
    def in_time(self) -> NDArray[np.bool_]:
        """Which frames were answered inside their SLA."""
        return self.total_s <= self.sla_s

    @property
    def value(self) -> Floats:
        """Accuracy of answers in time, 0 for others; the mean is the share that is right and in time."""
        return np.where(self.in_time, self.accuracy, 0.0)

    def since(self, from_s: float) -> FleetFrames:
        """The frames that were captured from then on."""
        return self.only(self.captured_s >= from_s)

    def only(self, kept: NDArray[np.bool_]) -> FleetFrames:
        """Some of the frames."""
        return FleetFrames(*(getattr(self, field.name)[kept] for field in fields(self)))

    @property
    def digest(self) -> str:
        """A hash of all values: equal runs have equal ones."""
        parts = hashlib.sha256()
        for field in fields(self):
            parts.update(getattr(self, field.name).tobytes())
        return parts.hexdigest()


def collect(streams: Sequence[Stream], accuracy: AccuracyTable) -> FleetFrames:
    """Join the streams of a fleet."""
    accuracy_of = lru_cache(maxsize=None)(lambda plan, here: accuracy.share_of_answer(plan, here))
    rows = [row for index, stream in enumerate(streams) for row in _rows(index, stream, accuracy_of)]
    device, sla_s, captured_s, total_s, shares, kind, split, fell_back = zip(*rows, strict=True)
    return FleetFrames(
        device=np.array(device),
        sla_s=np.array(sla_s),
        captured_s=np.array(captured_s),
        total_s=np.array(total_s),
        accuracy=np.array(shares),
        kind=np.array(kind),
        split=np.array(split),
        fell_back=np.array(fell_back, bool),
    )


_Row = tuple[int, float, float, float, float, int, int, bool]


def _rows(index: int, stream: Stream, accuracy_of: Callable[[Plan, bool], float]) -> list[_Row]:
    sla_s = stream.member.kind.sla_s
    dropped = {
        round(at_s, 6): (index, sla_s, at_s, float("inf"), 0.0, DROPPED, 0, False) for at_s in ticks_s(stream.member)
    }
    for frame in stream.frames:
        share = accuracy_of(frame.plan, frame.fell_back)
        kind = payload_kind(frame.plan)
        row = (index, sla_s, frame.captured_s, frame.total_s, share, kind, frame.plan.split, frame.fell_back)
        dropped[round(frame.captured_s, 6)] = row
    return [dropped[tick] for tick in sorted(dropped)]
