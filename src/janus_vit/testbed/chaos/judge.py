"""Judges what devices recorded: frames lost, duplicated, out of order, wrong, or late without need. Starts nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from janus_vit.planning.outcome import Outcome
from janus_vit.records.reader import Record
from janus_vit.testbed.chaos.device_process import DeviceSpec, Streamed, Witness

_WARM_UP = 5  # the first part of so many
_FEWEST = 120  # samples
_GROWTH, _GROWTH_MB = 0.02, 5.0  # of memory that is flat


@dataclass(frozen=True, slots=True)
class Window:
    """When a fault was there.

    Attributes:
        name: of the fault.
        begin_s: by `time.perf_counter`.
        end_s: by `time.perf_counter`.
        freezes_devices: whether devices could not run.
    """

    name: str
    begin_s: float
    end_s: float
    freezes_devices: bool = False

    def overlap_s(self, witness: Witness) -> float:
        """How long it was there while a frame was in flight."""
        return max(0.0, min(self.end_s, witness.ended_s) - max(self.begin_s, witness.began_s))

    def meets(self, witness: Witness) -> bool:
        """Whether it was there while a frame was in flight."""
        return self.begin_s < witness.ended_s and witness.began_s < self.end_s


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the frames of one device, or of several.

    Attributes:
        frames: number of frames that were run.
        lost: frames without a record.
        duplicated: frames with a second record.
        disordered: records that come after that of a later frame.
        wrong: answers that are not those of the same plan without a network.
        late: answers after the deadline.
        needlessly_late: late answers of frames for which a plan without the cloud would have been in time.
        fallbacks: frames that the device finished itself after the cloud failed it.
        remote: frames that the cloud answered.
        overlapped: frames that were computed while others were in the air.
        problems: what else went wrong, and the first wrong answer.
        examples: the first frame of each device that was late without need.
    """

    frames: int = 0
    lost: int = 0
    duplicated: int = 0
    disordered: int = 0
    wrong: int = 0
    late: int = 0
    needlessly_late: int = 0
    fallbacks: int = 0
    remote: int = 0
    overlapped: int = 0
    problems: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether all promises were kept."""
        return self.is_clean_but_for(late_share=0.0)

    def is_clean_but_for(self, late_share: float) -> bool:
        """Whether all promises were kept, if that share of the frames, rounded up, may be late without need."""
        broken = self.problems or self.lost or self.duplicated or self.disordered or self.wrong
        return not broken and self.needlessly_late <= math.ceil(late_share * self.frames)

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def judge_device(
    spec: DeviceSpec,
    streamed: Streamed,
    records: Sequence[Record],
    windows: Sequence[Window],
    agrees: Callable[[int, Outcome], bool],
    pictures: int,
    fastest_s: float,
) -> Verdict:
    """Judge one device.

    Args:
        spec: the device.
        streamed: what it did.
        records: what it wrote.
        windows: when faults were there.
        agrees: whether the answer of an outcome is right for a picture.
        pictures: number of pictures that devices stream in turns.
        fastest_s: time of its fastest plan without the cloud.
    """
    numbers = [record.outcome.frame for record in records]
    seen = set(numbers)
    problems = [f"{spec.name}: {streamed.failure}"] if streamed.failure else []
    if streamed.frames != spec.frames and not streamed.was_stopped:
        problems.append(f"{spec.name}: ran {streamed.frames} of {spec.frames} frames")
    if not spec.has_camera and any(int(each.name or -1) != each.outcome.frame % pictures for each in records):
        problems.append(f"{spec.name}: a record belongs to another frame")
    outcomes = [record.outcome for record in records]
    wrong = [each.outcome for each in records if not agrees(int(each.name or -1), each.outcome)]
    late = [outcome for outcome in outcomes if not outcome.met]
    needless = [each for each in late if not _is_excused(each, streamed.witnesses, outcomes, windows, fastest_s)]
    problems += [f"{spec.name}: wrong: {_words(outcome)}" for outcome in wrong[:1]]
    return Verdict(
        frames=streamed.frames,
        lost=len(set(range(streamed.frames)) - seen),
        duplicated=len(numbers) - len(seen),
        disordered=sum(later < earlier for earlier, later in zip(numbers, numbers[1:], strict=False)),
        wrong=len(wrong),
        late=len(late),
        needlessly_late=len(needless),
        fallbacks=sum(outcome.fallback is not None for outcome in outcomes),
        remote=sum(outcome.fallback is None and not outcome.plan.is_local for outcome in outcomes),
        overlapped=sum(outcome.overlap.others > 0 for outcome in outcomes),
        problems=tuple(problems),
        examples=tuple(f"{spec.name}: needlessly late: {_words(outcome)}" for outcome in needless[:1]),
    )


def _is_excused(
    outcome: Outcome,
    witnesses: Mapping[int, Witness],
    outcomes: Sequence[Outcome],
    windows: Sequence[Window],
    fastest_s: float,
) -> bool:
    """Whether no plan could have been in time, or the machine computed more slowly than before just then.

    The fastest plan without the cloud, at the speed that the machine really had, and with the time during which it did
    not run this device, would have been late. A camera's frame may be old when the device gets it. A slowed device
    multiplies the noise of this machine, so what compute took beyond its prediction counts against no plan: that of
    this frame, and that of the frames that were in flight with it.
    """
    witness = witnesses.get(outcome.frame)
    if witness is None:
        return False
    measured = outcome.measured
    computed_s, expected_s = _compute_s(outcome)
    slower = max(1.0, computed_s / expected_s) if expected_s else 1.0
    frozen_s = sum(each.overlap_s(witness) for each in windows if each.freezes_devices)
    stopped_s = max(witness.denied_s, frozen_s)
    age_s = max(0.0, measured.total_s - (witness.ended_s - witness.began_s) - witness.denied_s)
    needed_s = measured.prepare_s + measured.plan_s + slower * fastest_s
    noise_s = sum(
        max(0.0, taken_s - wanted_s)
        for taken_s, wanted_s in (_compute_s(each) for each in outcomes if witness.overlaps(witnesses.get(each.frame)))
    )
    own_s = measured.total_s - stopped_s - noise_s
    return age_s + stopped_s + needed_s > outcome.sla_s or own_s <= outcome.sla_s


def _compute_s(outcome: Outcome) -> tuple[float, float]:
    """Compute of a frame on the device, and what was expected."""
    measured, predicted = outcome.measured, outcome.predicted
    finish_s = predicted.finish_s
    if outcome.plan.rescue is None and predicted.unhurried_s is not None:
        finish_s = predicted.unhurried_s
    expected_s = predicted.device_s + (0.0 if outcome.fallback is None else finish_s)
    return measured.device_s + measured.fallback_s, expected_s


def _words(outcome: Outcome) -> str:
    measured = {name: round(getattr(outcome.measured, name), 4) for name in outcome.measured.__dataclass_fields__}
    return f"frame {outcome.frame}, {outcome.plan}, {measured}, predicted {outcome.predicted}, {outcome.fallback}"


def growth_mb(sizes_mb: Sequence[float]) -> float:
    """Growth of memory after the warm-up, from the first quarter to the last one: of medians, without peaks."""
    steady = sizes_mb[len(sizes_mb) // _WARM_UP :]
    part = len(steady) // 4
    return median(steady[-part:]) - median(steady[:part]) if part else 0.0


def grows(sizes_mb: Sequence[float]) -> bool:
    """Whether memory is not flat. A run of less than two minutes, with a sample every second, does not show it."""
    return len(sizes_mb) >= _FEWEST and growth_mb(sizes_mb) > _GROWTH * max(sizes_mb, default=0.0) + _GROWTH_MB
