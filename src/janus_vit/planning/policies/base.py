"""Dynamic scheduler: which plan runs the next frame. Deterministic, without I/O; time comes as an argument.

A policy is two methods: `observe` what happened, `choose` what to do. `SmallestLevel` is the paper's Algorithm 1, and
the paper's baselines are the same algorithm on a table of fewer plans. `MostAccurateInTime` is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from janus_vit.planning.latency import Floats
from janus_vit.planning.link import HarmonicMean, RateForecast, RoundTrip
from janus_vit.planning.outcome import Outcome, Prediction, patience_s
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.plan import Plan, tokens_saved
from janus_vit.planning.policies.correction import Correction, Side
from janus_vit.planning.table import PlanTable

PROBE_BYTES = 16_000
PROBE_EVERY_S = 0.5
EXACT = Side()  # a machine that is as its profile says
_HOPELESS = 0.02  # probability below which a plan is as good as late
_COARSE = 0.5  # fidelity below which a payload is not trusted without a measurement


@dataclass(frozen=True, slots=True)
class Situation:
    """What a policy knows when a frame comes.

    Attributes:
        now_s: the device's clock. time_left_s: until the deadline. cloud_queue_s: the cloud's last reported wait.
    """

    now_s: float
    time_left_s: float
    cloud_queue_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """A plan with what is expected of it.

    Attributes:
        probe_bytes: send this many bytes beside the frame, only to look at the link; 0 for none.
    """

    plan: Plan
    predicted: Prediction
    probe_bytes: int = 0


class Policy(Protocol):
    """Chooses a plan for every frame."""

    def observe(self, outcome: Outcome) -> None:
        """Learn from a frame that is over."""

    def choose(self, situation: Situation) -> Decision:
        """Decide how the next frame runs. May be asked more than once for a frame: what it learns, it learns above."""


class SmallestLevel:
    """The paper's Algorithm 1: the smallest pruning level that meets the SLA, at its fastest split.

    If no level does, the largest one at its fastest split. The bandwidth is the harmonic mean of what was observed.
    """

    def __init__(self, table: PlanTable, link: HarmonicMean, rtt_s: float) -> None:
        self._table = table
        self._link = link
        self._rtt = RoundTrip(rtt_s)
        self._probing = _Probing(table)
        self._compute_s = table.device_s + table.encode_s + table.cloud_s + table.decode_s
        self._megabits = table.size_bytes * 8e-6
        self._uses_link = (table.size_bytes > 0).astype(float)

    def observe(self, outcome: Outcome) -> None:
        """Take in what the link showed."""
        for transfer in outcome.transfers:
            self._link.observe(transfer)
            self._rtt.observe(transfer)
            self._probing.saw(transfer.at_s)

    def choose(self, situation: Situation) -> Decision:
        """Run Algorithm 1."""
        rtt_s, rate_mbps = self._rtt.seconds, self._link.rate_mbps
        wait_s = rtt_s + situation.cloud_queue_s
        total_s = self._compute_s + self._megabits / rate_mbps + self._uses_link * wait_s
        row, column = smallest_level(total_s, situation.time_left_s)
        predicted = predict(self._table, row, column, rate_mbps, rtt_s, situation.cloud_queue_s)
        return self._probing.decide(Decision(self._table.plan(row, column), predicted), situation.now_s)


def smallest_level(total_s: Floats, sla_s: float) -> tuple[int, int]:
    """Row and column of Algorithm 1's choice in predicted totals [levels, options], levels ascending."""
    fastest = total_s.min(axis=1)
    meets = fastest <= sla_s
    row = int(meets.argmax()) if meets.any() else len(fastest) - 1
    return row, int(total_s[row].argmin())


class MostAccurateInTime:
    """Ours: the plan with the largest expected accuracy inside the SLA, over every way to run a frame.

    With measured accuracy A and the probability P of meeting the deadline, it maximises P * A: an answer that comes
    late counts as wrong. Plans closer together than the measurement's own `resolution` are equal: of them it takes
    those that merge least, and of these the fastest. An answer that the device had to finish in a hurry counts with the
    accuracy of that. Where all come late it wants the most right answers a second.
    Without measurements it keeps the paper's order: among the plans that are on time with `confidence`, the smallest
    level, then the least lossy format, then the fastest; formats as coarse as int4 last.
    """

    def __init__(
        self,
        table: PlanTable,
        link: RateForecast,
        rtt_s: float,
        accuracy: Floats | None = None,
        rescued: Floats | None = None,
        resolution: float = 0.0,
        confidence: float = 0.95,
    ) -> None:
        self._table = table
        self._link = link
        self._rtt = RoundTrip(rtt_s)
        self._probing = _Probing(table)
        self._accuracy = accuracy
        self._resolution = resolution
        self._confidence = confidence
        self._correction = Correction()
        self._megabits = table.size_bytes * 8e-6
        self._uses_link = (table.size_bytes > 0).astype(float)
        self._device_s = table.device_s + table.encode_s
        self._cloud_s = table.cloud_s + table.decode_s
        self._saved = np.array([tokens_saved(schedule.applied) for schedule in table.schedules], float)
        # An unmeasured plan is never chosen while measured ones exist.
        self._value = _paper_order(table) if accuracy is None else np.nan_to_num(accuracy, nan=0.0)
        self._rescued = self._value if rescued is None else np.nan_to_num(rescued, nan=0.0)

    def observe(self, outcome: Outcome) -> None:
        """Take in what the link showed and how long compute really took."""
        for transfer in outcome.transfers:
            self._link.observe(transfer)
            self._rtt.observe(transfer)
            self._probing.saw(transfer.at_s)
        self._correction.observe(outcome)

    def choose(self, situation: Situation) -> Decision:
        """Pick the plan with the largest expected accuracy in time."""
        rtt_s, device, cloud = self._rtt.seconds, self._correction.device, self._correction.cloud
        before_s = device.factor * self._device_s
        after_s = cloud.factor * self._cloud_s + self._uses_link * (rtt_s + situation.cloud_queue_s)
        answered, rescued = self._on_time(before_s, after_s, situation.time_left_s)
        on_time = answered + rescued
        total_s = before_s + after_s + self._megabits / self._link.rate_mbps
        row, column = self._best(on_time, answered * self._value + rescued * self._rescued, total_s)
        if on_time[row, column] < _HOPELESS:
            row, column = self._soonest_right(before_s, after_s, situation.time_left_s)
        predicted = predict(
            self._table,
            row,
            column,
            self._link.rate_mbps,
            rtt_s,
            situation.cloud_queue_s,
            device,
            cloud,
            float(on_time[row, column]),
            self._measured_accuracy(row, column),
        )
        return self._probing.decide(Decision(self._table.plan(row, column), predicted), situation.now_s)

    def _on_time(self, before_s: Floats, after_s: Floats, time_left_s: float) -> tuple[Floats, Floats]:
        """Probability that each plan meets the deadline by the cloud's answer, and by finishing here without it.

        Args:
            before_s: until the payload is packed. after_s: from the last byte's arrival to the answer, if in time.
        """
        device, cloud = self._correction.device, self._correction.cloud
        left_s = time_left_s - before_s
        finish_s = device.factor * self._table.finish_s
        wait_s = patience_s(left_s, finish_s, after_s + self._megabits / self._link.rate_mbps, device.spread)
        slack_s = np.minimum(wait_s, left_s) - after_s
        answered = self._link.on_time(self._megabits / np.maximum(slack_s, 1e-9))
        answered[(slack_s <= 0) & (self._megabits > 0)] = 0.0
        compute_s = before_s + cloud.factor * self._cloud_s
        spread = np.hypot(device.spread * before_s, cloud.spread * cloud.factor * self._cloud_s) / compute_s
        in_time = answered * in_budget(compute_s, time_left_s - (after_s - cloud.factor * self._cloud_s), spread)
        rescued = np.where(wait_s < left_s, in_budget(finish_s, left_s - wait_s, device.spread), 0.0)
        return np.asarray(in_time), np.asarray((1.0 - answered) * rescued)

    def _soonest_right(self, before_s: Floats, after_s: Floats, time_left_s: float) -> tuple[int, int]:
        """Where every plan is late: the most right answers a second, so that the frames behind this one gain.

        A plan that sends takes as long as waiting and finishing here, as often as no answer comes.
        """
        finish_s = self._correction.device.factor * self._table.finish_s
        send_s = self._megabits / self._link.rate_mbps
        wait_s = patience_s(time_left_s - before_s, finish_s, after_s + send_s, self._correction.device.spread)
        answered = self._link.on_time(self._megabits / np.maximum(wait_s - after_s, 1e-9))
        expected_s = before_s + answered * (after_s + send_s)
        expected_s += self._uses_link * (1.0 - answered) * (wait_s + finish_s)
        best = int((self._value / expected_s).argmax())
        return best // expected_s.shape[1], best % expected_s.shape[1]

    def _measured_accuracy(self, row: int, column: int) -> float | None:
        if self._accuracy is None or np.isnan(self._accuracy[row, column]):
            return None
        return float(self._accuracy[row, column])

    def _best(self, on_time: Floats, worth: Floats, total_s: Floats) -> tuple[int, int]:
        if self._accuracy is None:
            worth = np.where(on_time >= self._confidence, 1.0 + self._value, on_time)
        equal = worth >= worth.max() - self._resolution - 1e-6
        row = int(np.where(equal.any(axis=1), self._saved, np.inf).argmin())
        return row, int(np.where(equal[row], total_s[row], np.inf).argmin())


def in_budget(compute_s: Floats, budget_s: Floats, spread: Floats | float) -> Floats:
    """Probability that compute stays inside its budget, if its logarithm errs by `spread` on average.

    The logistic curve that is closest to the normal one, whose deviation is 1.25 times its average error.
    """
    distance = np.log(np.maximum(budget_s, 1e-9) / np.maximum(compute_s, 1e-9)) / (1.25 * spread)
    return np.asarray(1.0 / (1.0 + np.exp(-1.7 * np.clip(distance, -30.0, 30.0))))


def predict(
    table: PlanTable,
    row: int,
    column: int,
    rate_mbps: float,
    rtt_s: float,
    queue_s: float,
    device: Side = EXACT,
    cloud: Side = EXACT,
    on_time: float | None = None,
    accuracy: float | None = None,
) -> Prediction:
    """What to expect of one cell of the table at a given rate and round trip."""
    size_bytes = float(table.size_bytes[row, column])
    sends = size_bytes > 0
    return Prediction(
        device_s=float(table.device_s[row, column]) * device.factor,
        encode_s=float(table.encode_s[row, column]) * device.factor,
        transfer_s=rtt_s + size_bytes * 8e-6 / rate_mbps if sends else 0.0,
        queue_s=queue_s if sends else 0.0,
        decode_s=float(table.decode_s[row, column]) * cloud.factor,
        cloud_s=float(table.cloud_s[row, column]) * cloud.factor,
        finish_s=float(table.finish_s[row, column]) * device.factor,
        size_bytes=size_bytes,
        rate_mbps=rate_mbps,
        spread=device.spread,
        on_time=on_time,
        accuracy=accuracy,
        unhurried_s=float(table.rescue.planned_s[row, table.options[column].split]) * device.factor,
    )


class _Probing:
    """Asks for a look at the link when frames have stayed local for a while: a link that came back is else unseen."""

    def __init__(self, table: PlanTable) -> None:
        self._ever = bool((table.size_bytes > 0).any())
        self._seen_s: float | None = None

    def saw(self, at_s: float) -> None:
        self._seen_s = at_s

    def decide(self, decision: Decision, now_s: float) -> Decision:
        stale = self._seen_s is None or now_s - self._seen_s >= PROBE_EVERY_S
        if self._ever and stale and decision.plan.is_local:
            self._seen_s = now_s
            return Decision(decision.plan, decision.predicted, PROBE_BYTES)
        return decision


def _paper_order(table: PlanTable) -> Floats:
    """A value in (0, 1] for each plan that only orders: smallest level first, then the least lossy format.

    Coarse formats come last: how much they cost is the model's own, and nobody measured it.
    """
    rows = len(table.schedules)
    levels = np.arange(rows, 0, -1.0)[:, None]
    formats = np.array([_fidelity(option.payload) for option in table.options])[None, :]
    return np.asarray((levels + 0.9 * formats + rows * (formats >= _COARSE)) / (2 * rows + 1))


def _fidelity(payload: str) -> float:
    """How little a payload changes the frame, 0 to 1; only the order means something."""
    order = {"local": 1.0, "float32": 1.0, "float16": 0.99, "float8": 0.9, "int8": 0.9, "int4": 0.1}
    order |= {"tensor": 1.0, "png": 1.0}
    base = payload.removesuffix("+zstd")
    return order[base] if base in order else 0.9 * parse_payload(base).quality / 100
