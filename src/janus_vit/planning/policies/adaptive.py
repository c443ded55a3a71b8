"""The default policy: the plan with the largest expected accuracy inside the SLA."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from janus_vit.planning.accuracy.typical import typical_order
from janus_vit.planning.latency import Floats
from janus_vit.planning.link import RateForecast, RoundTrip
from janus_vit.planning.outcome import Outcome, hedge_s
from janus_vit.planning.plan import tokens_saved
from janus_vit.planning.policies.base import Decision, Situation, predict
from janus_vit.planning.policies.correction import Acceptance, Correction
from janus_vit.planning.policies.late_price import LatePrice
from janus_vit.planning.policies.probing import HOPELESS, ProbeTimer
from janus_vit.planning.price import EnginePrice
from janus_vit.planning.table import PlanTable

_NO_TIME = 1e-6  # of a cloud whose profile is doubted, by the profile
_WORTH_SENDING = 0.1  # a frame that the device is more likely to answer itself is sent from this probability on


_Policy = TypeVar("_Policy", bound="MostAccurateInTime")


@dataclass(frozen=True, slots=True)
class Chances:
    """What a policy expects of every plan. Arrays have shape [levels, options].

    `on_time`, `by_cloud` and `worth` are 0 for plans that cannot be the best.

    Attributes:
        time_left_s: time until the deadline.
        busy_s: time for which earlier frames may need the device.
        at_most_mbps: see `Situation.at_most_mbps`.
        cloud_factor: expected compute time of the cloud, as a multiple of its profile's.
        before_s: time until the payload is encoded.
        after_s: time from the arrival of the last byte to the answer.
        on_time: probability of meeting the deadline.
        by_cloud: probability of meeting it with the cloud's answer.
        worth: expected right answers in time, or what stands for them without measured accuracy.
    """

    time_left_s: float
    busy_s: float
    at_most_mbps: float
    cloud_factor: float
    before_s: Floats
    after_s: Floats
    on_time: Floats
    by_cloud: Floats
    worth: Floats


class MostAccurateInTime:
    """Maximise P * A over all plans: P is the probability of meeting the deadline, A the measured accuracy.

    A late answer counts as wrong. A fallback to the device counts with the accuracy of the rescue schedule. Plans whose
    P * A differ by less than `resolution` count as equal: among those that are as likely to be in time as the best, the
    policy takes the plan that merges least, then the fastest. If every plan is late, the policy maximises right answers
    per second.

    With an accepted share of late frames, the policy maximises P * (A + price), and adapts the price of a late frame
    until that share is late (`late_price`).

    Without measured accuracy, the policy takes the plan with the smallest typical loss (`accuracy.typical`), then the
    fastest, among the plans that are in time with the required probability, 95 % or what the accepted share asks for.

    Args:
        table: plans to choose from.
        link: forecast of the uplink rate.
        rtt_s: round trip before any observation.
        accuracy: accuracy of each plan, [levels, options], NaN where not measured; None if nothing was measured.
        rescued: accuracy of each plan if the device finishes the frame with the rescue schedule, same shape.
        resolution: difference in accuracy that the measurement cannot tell apart.
        late_target: share of late frames that the user accepts; None: late answers count as wrong, no more.
    """

    def __init__(
        self,
        table: PlanTable,
        link: RateForecast,
        rtt_s: float,
        accuracy: Floats | None = None,
        rescued: Floats | None = None,
        resolution: float = 0.0,
        late_target: float | None = None,
    ) -> None:
        self._table = table
        self._link = link
        self._rtt = RoundTrip(rtt_s)
        self._probes = ProbeTimer(table)
        self._accuracy = accuracy
        self._resolution = resolution
        self._late_target = late_target
        self._correction = Correction()
        self._acceptance = Acceptance()
        self._megabits = table.link_bytes * 8e-6
        self._uses_link = (table.size_bytes > 0).astype(float)
        self._device_s = table.device_s + table.encode_s
        self._cloud_s = table.cloud_s + table.decode_s
        self._saved = np.array([tokens_saved(schedule.applied) for schedule in table.schedules], float)
        # A plan that was not measured is never chosen while there are measured ones.
        self._value = typical_order(table) if accuracy is None else np.nan_to_num(accuracy, nan=0.0)
        self._rescued = self._value if rescued is None else np.nan_to_num(rescued, nan=0.0)
        self._most = (1.0 + self._value) if accuracy is None else np.maximum(self._value, self._rescued)
        self._late = self._new_price()
        self._alone = np.flatnonzero(table.size_bytes == 0)
        self._newest = 0  # flat index of the newest decision

    def twin(self: _Policy, link: RateForecast, rtt_s: float) -> _Policy:
        """Make a fresh policy for another device with the same plans; both share the arrays.

        Args:
            link: forecast of that device's uplink rate.
            rtt_s: round trip before any observation.
        """
        other = copy(self)
        other._link, other._rtt = link, RoundTrip(rtt_s)
        other._probes = ProbeTimer(self._table)
        other._correction, other._acceptance = Correction(), Acceptance()
        other._late = self._new_price()
        return other

    def observe(self, outcome: Outcome) -> None:
        """Learn from the frame's transfers and its measured compute."""
        for transfer in outcome.transfers:
            self._link.observe(transfer)
            self._rtt.observe(transfer)
        self._probes.observe(outcome)
        self._correction.observe(outcome)
        self._acceptance.observe(outcome)
        self._late.observe(not outcome.met)

    def choose(self, situation: Situation) -> Decision:
        """Pick the plan with the largest expected accuracy in time."""
        rtt_s, device, cloud = self._rtt.seconds, self._correction.device, self._correction.cloud
        before_s = device.factor * self._device_s
        factor = _NO_TIME if situation.doubts_profile else cloud.factor
        after_s = factor * self._cloud_s + self._uses_link * (rtt_s + situation.cloud_queue_s)
        if situation.uplink_busy_s > 0:
            after_s += self._uses_link * np.maximum(0.0, situation.uplink_busy_s - before_s)
        accepted = self._acceptance.probability(situation.now_s)
        lost = self._lost(situation.price)
        chances = self._chances(before_s, after_s, situation, accepted, lost)
        row, column = self._pick(chances, lost)
        self._newest = row * self._value.shape[1] + column
        predicted = predict(
            self._table,
            row,
            column,
            rate_mbps=self._link.rate_mbps,
            rtt_s=rtt_s,
            queue_s=situation.cloud_queue_s,
            device=device,
            cloud=cloud,
            on_time=float(chances.on_time[row, column]),
            accuracy=self._measured_accuracy(row, column),
            uplink_busy_s=situation.uplink_busy_s,
        )
        plan = self._table.plan(row, column)
        is_late_anyway = predicted.on_time is not None and predicted.on_time < HOPELESS
        probe_bytes = self._probes.bytes_due(plan, situation, is_late_anyway)
        return Decision(plan, predicted, probe_bytes, by_cloud=float(chances.by_cloud[row, column]))

    def _new_price(self) -> LatePrice:
        """A price that leaves every measured plan worth something."""
        measured = self._value[self._value > 0]
        return LatePrice(self._late_target, least=-0.9 * float(measured.min(initial=1.0)))

    def _lost(self, price: EnginePrice) -> Floats | None:
        """What other devices lose by each plan, [levels, options]; None if nothing is lost or nobody counts it."""
        return None

    def _chances(
        self, before_s: Floats, after_s: Floats, situation: Situation, accepted: float, lost: Floats | None
    ) -> Chances:
        """Compute what is expected of the plans that can be the best.

        A plan is worth at most its accuracy. What the newest decision and the plans of the device alone are worth now
        leaves out most of the others before anything else is computed for them.

        Args:
            before_s: time until the payload is encoded.
            after_s: time from the arrival of the last byte to the answer.
            situation: when the policy decides.
            accepted: probability that the cloud takes a request.
            lost: see `_lost`.
        """
        found = np.zeros((3, *self._value.shape))
        time_left_s = situation.time_left_s
        busy_s, at_most_mbps = situation.device_busy_s, situation.at_most_mbps
        factor = _NO_TIME if situation.doubts_profile else self._correction.cloud.factor
        chances = Chances(time_left_s, busy_s, at_most_mbps, factor, before_s, after_s, *found)
        # A payload that is encoded after the deadline is neither answered nor rescued in time: its chances stay 0.
        possible = (before_s < time_left_s) | (self._megabits == 0)
        most = self._most + max(0.0, self._late.answers)
        if lost is not None:
            most -= lost
        likely = np.append(self._alone, self._newest)
        self._expect(likely[possible.take(likely)], chances, accepted)
        least = (chances.worth.take(likely) - (0.0 if lost is None else lost.take(likely))).max()
        possible &= most >= least - self._resolution - 1e-5
        self._expect(np.flatnonzero(possible), chances, accepted)
        return chances

    def _pick(self, chances: Chances, lost: Floats | None) -> tuple[int, int]:
        """Row and column of the best plan."""
        row, column = self._best(chances)
        if chances.on_time[row, column] < HOPELESS:
            return self._most_answers_per_second(chances)
        return row, column

    def _expect(self, plans: NDArray[np.intp], chances: Chances, accepted: float) -> None:
        """Fill in the chances of some plans, given by their flat indices.

        A plan meets the deadline with the cloud's answer, or else with the device's own, begun while it waits.
        """
        device, cloud = self._correction.device, self._correction.cloud
        megabits, before_s, after_s = (each.take(plans) for each in (self._megabits, chances.before_s, chances.after_s))
        cloud_s = chances.cloud_factor * self._cloud_s.take(plans)
        time_left_s = chances.time_left_s
        left_s = time_left_s - before_s
        finish_s = device.factor * self._table.finish_s.take(plans)
        wait_s = self._own_begins_s(left_s, finish_s, chances)
        slack_s = left_s - after_s
        answered = self._link.on_time(megabits / np.maximum(slack_s, 1e-9), chances.at_most_mbps)
        answered[megabits > 0] *= accepted
        answered[(slack_s <= 0) & (megabits > 0)] = 0.0
        compute_s = before_s + cloud_s
        spread = np.hypot(device.spread * before_s, cloud.spread * cloud_s) / compute_s
        in_time = answered * in_budget(compute_s, time_left_s - (after_s - cloud_s), spread)
        # The wait keeps time for the own answer, unless what comes before it takes too long.
        alone = in_budget(before_s + finish_s, time_left_s, device.spread)
        rescued = np.minimum(alone, in_budget(finish_s, left_s - wait_s, device.spread))
        rescued *= np.where(wait_s < left_s, 1.0 - answered, 0.0)
        # A payload whose answer hardly ever counts would only take the link from the next frames, and the cloud.
        likely = (megabits == 0) | (answered >= np.where(rescued > answered, _WORTH_SENDING, HOPELESS))
        on_time, value = likely * (in_time + rescued), self._value.take(plans)
        if self._accuracy is None:
            worth = np.where(on_time >= self._late.confidence, 1.0 + value, on_time)
        else:
            worth = likely * (in_time * value + rescued * self._rescued.take(plans)) + on_time * self._late.answers
        chances.on_time.ravel()[plans], chances.worth.ravel()[plans] = on_time, worth
        chances.by_cloud.ravel()[plans] = likely * in_time

    def _most_answers_per_second(self, chances: Chances) -> tuple[int, int]:
        """Row and column with the most right answers per second, so that later frames gain if this one is late.

        If no answer comes, the device's own ends the frame, but the payload may keep the link busy for longer.
        """
        before_s, after_s = chances.before_s, chances.after_s
        finish_s = self._correction.device.factor * self._table.finish_s
        own_s = self._own_begins_s(chances.time_left_s - before_s, finish_s, chances) + finish_s
        remote_s = after_s + self._megabits / self._link.rate_mbps
        answered = self._link.on_time(self._megabits / np.maximum(own_s - after_s, 1e-9), chances.at_most_mbps)
        missed = self._uses_link * (1.0 - answered)
        expected_s = before_s + answered * np.minimum(remote_s, own_s) + missed * np.maximum(remote_s, own_s)
        right = answered * self._value + missed * self._rescued
        is_worth = (self._megabits == 0) | (answered >= _WORTH_SENDING)
        best = int((is_worth * right / expected_s).argmax())
        return best // self._value.shape[1], best % self._value.shape[1]

    def _own_begins_s(self, left_s: Floats, finish_s: Floats, chances: Chances) -> Floats:
        """Time from sending until the device begins its own answer."""
        return np.maximum(hedge_s(left_s, finish_s, self._correction.device.cautious_spread), chances.busy_s)

    def _measured_accuracy(self, row: int, column: int) -> float | None:
        if self._accuracy is None or np.isnan(self._accuracy[row, column]):
            return None
        return float(self._accuracy[row, column])

    def _best(self, chances: Chances) -> tuple[int, int]:
        worth = chances.worth
        total_s = chances.before_s + chances.after_s + self._megabits / self._link.rate_mbps
        is_as_safe = chances.on_time >= chances.on_time.ravel()[worth.argmax()] - 1e-6
        equal = is_as_safe & (worth >= worth.max() - self._resolution - 1e-6)
        row = int(np.where(equal.any(axis=1), self._saved, np.inf).argmin())
        return row, int(np.where(equal[row], total_s[row], np.inf).argmin())


def in_budget(compute_s: Floats, budget_s: Floats | float, spread: Floats | float) -> Floats:
    """Probability that compute stays inside its budget.

    The logarithm of the compute time is assumed to be normal, with `spread` as its mean absolute error; the standard
    deviation is 1.25 times that. A logistic curve approximates the normal distribution.

    Args:
        compute_s: expected compute time of each plan.
        budget_s: time allowed, same shape or one for all.
        spread: relative error of `compute_s`.
    """
    distance = np.log(np.maximum(budget_s, 1e-9) / np.maximum(compute_s, 1e-9)) / (1.25 * spread)
    return np.asarray(1.0 / (1.0 + np.exp(-1.7 * np.clip(distance, -30.0, 30.0))))
