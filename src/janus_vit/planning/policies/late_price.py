"""What a late frame costs: fixed, or adapted to each stream until its share of late frames is the one that is accepted.

The rule is integral control, as in adaptive conformal inference (Gibbs and Candès, 2021): every late frame raises the
price by what the accepted share of frames in time lowers it. So the share of late frames of a long stream comes out as
accepted, whatever the forecasts are worth, wherever some plan can do it.
"""

from __future__ import annotations

import math

from janus_vit.errors import InputError

_LARGEST = 10.0  # a higher price changes no decision any more
_CONFIDENCE = 0.95  # required without measured accuracy, and without a target


class LatePrice:
    """The price of a late frame, beside the right answer that it does not give.

    Args:
        target: share of late frames that the user accepts; None: a late frame counts as a wrong answer, no more.
        least: lowest price; a price below 0 buys accuracy with late frames.

    Raises:
        InputError: the target is not between 0 and 1.

    Attributes:
        answers: the price, in right answers.
    """

    def __init__(self, target: float | None = None, least: float = -1.0) -> None:
        if target is not None and not 0 < target < 1:
            raise InputError(f"the accepted share of late frames is {target}: use one between 0 and 1, such as 0.01")
        self._target = target
        self._least = least
        self.answers = 0.0

    def observe(self, is_late: bool) -> None:
        """Count a frame."""
        if self._target is not None:
            self.answers = min(_LARGEST, max(self._least, self.answers + is_late - self._target))

    @property
    def confidence(self) -> float:
        """Probability of being in time that a plan needs where no accuracy was measured."""
        if self._target is None:
            return _CONFIDENCE
        return 1 / (1 + self._target / (1 - self._target) * math.exp(-self.answers))
