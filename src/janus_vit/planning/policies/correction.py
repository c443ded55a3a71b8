"""Corrects predicted compute from what really happened: throttling, other load, a profile from another day."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from janus_vit.planning.outcome import Outcome

_WEIGHT = 0.2  # after 20 frames 99 % of a lasting change is taken in
_FORGET = 0.03  # an unseen side is half forgotten after 23 frames
_SPREAD = 0.05  # before anything was seen
_LEAST_SPREAD = 0.005  # no machine is steadier
_NEGLIGIBLE = 0.1  # of the SLA


@dataclass
class Side:
    """How one machine's measured compute relates to its profile.

    Attributes:
        log_ratio: average logarithm of measured over predicted.
        spread: average distance of one frame's logarithm from that average.
    """

    log_ratio: float = 0.0
    spread: float = _SPREAD

    def observe(self, measured_s: float, predicted_s: float, sla_s: float) -> None:
        """Take in one frame's compute; the prediction was made with the current factor.

        What is short beside the SLA is mostly noise and decides nothing.
        """
        if max(measured_s, predicted_s) < _NEGLIGIBLE * sla_s or min(measured_s, predicted_s) <= 0:
            return
        error = max(-1.0, min(1.0, math.log(measured_s / predicted_s)))  # one odd frame is not a trend
        self.log_ratio += _WEIGHT * error
        self.spread = max(_LEAST_SPREAD, self.spread + _WEIGHT * (abs(error) - self.spread))

    def forget(self) -> None:
        """Nothing was seen for a frame: move a little back to the profile, else a slow side is never tried again."""
        self.log_ratio *= 1 - _FORGET
        self.spread += _FORGET * (_SPREAD - self.spread)

    @property
    def factor(self) -> float:
        """Multiply the profile by this for the expected time."""
        return math.exp(self.log_ratio)


@dataclass
class Correction:
    """Both sides of a split."""

    device: Side = field(default_factory=Side)
    cloud: Side = field(default_factory=Side)

    def observe(self, outcome: Outcome) -> None:
        """Learn from a frame's predicted and measured compute."""
        predicted, measured, sla_s = outcome.predicted, outcome.measured, outcome.sla_s
        self.device.observe(measured.device_s + measured.encode_s, predicted.device_s + predicted.encode_s, sla_s)
        if outcome.fallback is None and not outcome.plan.is_local:
            self.cloud.observe(measured.cloud_s + measured.decode_s, predicted.cloud_s + predicted.decode_s, sla_s)
        else:
            self.cloud.forget()
