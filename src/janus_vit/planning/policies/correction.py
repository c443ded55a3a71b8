"""Correct predicted compute times by measured ones: for throttling, other load, or an old profile."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from janus_vit.planning.outcome import Outcome

_WEIGHT = 0.2  # 20 frames take in 99 % of a lasting change
_FORGET = 0.03  # a correction is halved after 23 frames without a measurement
_SPREAD = 0.02  # before any measurement: how well a profile that was measured on the same machine holds
_CAUTIOUS_SPREAD = 0.05  # before any measurement, where time is kept in reserve
_LEAST_SPREAD = 0.005  # no machine is steadier
_NEGLIGIBLE = 0.1  # of the SLA
_WRONG = math.log(10)  # a profile that is as far off in two frames, one after the other, is another machine's
_REFUSAL_HALF_LIFE_S = 1.0  # a refused device tries again after some seconds, at a time of its own


@dataclass
class MachineCorrection:
    """How one machine's measured compute relates to its profile.

    Attributes:
        log_ratio: mean logarithm of measured over predicted compute.
        spread: mean distance of a frame's logarithm from `log_ratio`.
        is_measured: whether a frame has been measured yet.
        outlier: logarithm of the last frame's error if it is too large for a disturbance; otherwise 0.
    """

    log_ratio: float = 0.0
    spread: float = _SPREAD
    is_measured: bool = False
    outlier: float = 0.0

    def observe(self, measured_s: float, predicted_s: float, sla_s: float) -> bool:
        """Learn from one frame's compute. Return whether the predictions made so far were of another machine.

        Compute that is short compared with the SLA is mostly noise and is ignored.

        Args:
            measured_s: measured compute time.
            predicted_s: prediction, made with the current `factor`.
            sla_s: time allowed for the frame.
        """
        if max(measured_s, predicted_s) < _NEGLIGIBLE * sla_s or min(measured_s, predicted_s) <= 0:
            self.outlier = 0.0
            return False
        exact = math.log(measured_s / predicted_s)
        error = max(-1.0, min(1.0, exact))  # one outlier is not a trend
        before, self.outlier = self.outlier, exact if abs(exact) > _WRONG else 0.0
        is_wrong = before * self.outlier > 0
        self.is_measured = True
        if is_wrong:
            self.log_ratio += math.copysign(min(abs(before), abs(exact)), exact)
            self.outlier = 0.0
        else:
            self.log_ratio += _WEIGHT * error
        self.spread = max(_LEAST_SPREAD, self.spread + _WEIGHT * (abs(error) - self.spread))
        return is_wrong

    def forget(self) -> None:
        """Move a little back to the profile after a frame without a measurement, so that a slow side is retried."""
        self.log_ratio *= 1 - _FORGET
        self.spread += _FORGET * (_SPREAD - self.spread)

    @property
    def cautious_spread(self) -> float:
        """`spread`, by which the device keeps time in reserve for a fallback; larger before any measurement."""
        return self.spread if self.is_measured else max(self.spread, _CAUTIOUS_SPREAD)

    @property
    def factor(self) -> float:
        """Expected time as a multiple of the profile's."""
        return math.exp(self.log_ratio)


@dataclass
class Correction:
    """Corrections of both machines.

    Attributes:
        device: correction of the device.
        cloud: correction of the cloud.
    """

    device: MachineCorrection = field(default_factory=MachineCorrection)
    cloud: MachineCorrection = field(default_factory=MachineCorrection)
    _rescaled_s: float = -math.inf  # when a profile turned out to be wrong; frames before it were planned with it

    def observe(self, outcome: Outcome) -> None:
        """Learn from a frame's predicted and measured compute."""
        predicted, measured, sla_s = outcome.predicted, outcome.measured, outcome.sla_s
        if outcome.at_s < self._rescaled_s:
            return
        expected_s = predicted.device_s + predicted.encode_s + _expected_fallback_s(outcome)
        is_wrong = self.device.observe(measured.device_s + measured.encode_s + measured.fallback_s, expected_s, sla_s)
        if outcome.fallback is None and not outcome.plan.is_local:
            cloud_s, expected_s = measured.cloud_s + measured.decode_s, predicted.cloud_s + predicted.decode_s
            is_wrong |= self.cloud.observe(cloud_s, expected_s, sla_s)
        else:
            self.cloud.forget()
        if is_wrong:
            self._rescaled_s = outcome.at_s + measured.total_s


def _expected_fallback_s(outcome: Outcome) -> float:
    """Predicted time of the fallback that ran; 0 if the cloud answered."""
    if outcome.measured.fallback_s == 0:
        return 0.0
    predicted, is_rescued = outcome.predicted, outcome.plan.rescue is not None
    return predicted.finish_s if is_rescued or predicted.unhurried_s is None else predicted.unhurried_s


class Acceptance:
    """How likely the cloud is to take a request: the share that it took, recent ones above all.

    Without it, a device would send every frame to a cloud that refuses most of them: a full cloud refuses so early that
    the wait which it reports stays short. A reply that the device has to refuse is as useless, and comes as early. Old
    refusals are forgotten, so that a device tries again.
    """

    def __init__(self) -> None:
        self._taken = 0.0
        self._refused = 0.0
        self._counted_s = 0.0

    def observe(self, outcome: Outcome) -> None:
        """Count a frame that the cloud answered, rightly or not, or refused."""
        refused = outcome.refused or outcome.refused_reply is not None
        if outcome.plan.is_local or (outcome.fallback is not None and not refused):
            return
        now_s = outcome.at_s + outcome.measured.total_s
        left = self._left(now_s)
        self._taken = left * self._taken + (not refused)
        self._refused = left * self._refused + refused
        self._counted_s = now_s

    def probability(self, now_s: float) -> float:
        """Probability that a request is taken; 1 if none was refused."""
        if not self._refused:
            return 1.0
        left = self._left(now_s)
        return (left * self._taken + 1) / (left * (self._taken + self._refused) + 1)

    def _left(self, now_s: float) -> float:
        return float(0.5 ** (max(0.0, now_s - self._counted_s) / _REFUSAL_HALF_LIFE_S))
