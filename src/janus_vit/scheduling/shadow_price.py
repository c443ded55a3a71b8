"""The price of an engine second, found by watching how much work devices ask for. Numbers only; time is an argument.

The price rises while devices ask for more than the engine can do, and falls while they ask for less: a controller with
a proportional and an integral part, in the logarithms of price and load. It knows no devices, only what they send.
"""

from __future__ import annotations

import math

from janus_vit.planning.price import LARGEST_PRICE, LEAST_PRICE

_TARGET = 0.9  # of the engine's time: the rest is for arrivals that come close together
_TICK_S = 0.02  # the price is computed anew this often, whenever it is asked for
_MEMORY_S = 0.5  # of the load: a frame period of slow cameras, so that one period does not look like a change
_RISE_PER_S = 1.5  # by which the logarithm of the price rises in a second at an error of 1
_LARGEST_ERROR = 2.0  # one second of a crowd, or of silence, must not change the price a millionfold
_FIRST_ANSWERS = 0.0003  # what a mean frame costs at the first price: below what devices can tell apart
_NEWEST_FRAME = 0.02  # weight of the newest frame in the mean frame

# Devices follow the price up to a second or two later. Where many of them are equal, a step that suits others makes all
# of them leave and return: if the load crosses the target twice in a short time, steps become smaller. Once it stays on
# one side for longer than devices take to follow, they grow again.
_SWING_S, _SHRINK, _LEAST_GAIN = 6.0, 0.4, 0.1
_PATIENCE_S, _GROWTH_S = 3.0, 6.0  # faster, equal devices swing again at the next step
_CROSSED = 0.3  # error from which on the load counts as above or below the target; chance alone makes half of it


class ShadowPrice:
    """Computes the price of an engine second. The same arrivals give the same prices, however often one asks."""

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, tick: int) -> None:
        self._tick = tick  # number of the last tick that was computed
        self._arrived_s = 0.0  # engine seconds since then
        self._frame_s = 0.0  # engine seconds of a mean frame
        self._load = 0.0  # engine seconds per second
        self._level: float | None = None  # integral part, a logarithm; None while the price is 0
        self._gain = 1.0
        self._side = 1  # 1 if the load was last above the target, -1 if below
        self._crossed_s = -math.inf

    def count(self, engine_s: float, now_s: float) -> None:
        """Count a request, taken or refused.

        Args:
            engine_s: engine seconds that it takes in a full batch.
            now_s: time of its arrival.
        """
        self._advance(now_s)
        self._arrived_s += engine_s
        self._frame_s += (_NEWEST_FRAME if self._frame_s else 1.0) * (engine_s - self._frame_s)

    def at(self, now_s: float) -> float:
        """Right answers that an engine second is worth; 0 while the engine has time to spare."""
        self._advance(now_s)
        if self._level is None:
            return 0.0
        level = self._level + self._gain * _RISE_PER_S * _MEMORY_S * self._error
        return min(LARGEST_PRICE, max(LEAST_PRICE, math.exp(level)))

    @property
    def _error(self) -> float:
        """Logarithm of the load as a multiple of the target, within limits."""
        return max(-_LARGEST_ERROR, min(_LARGEST_ERROR, math.log(max(self._load, 1e-9) / _TARGET)))

    def _advance(self, now_s: float) -> None:
        last = int(now_s / _TICK_S)
        if last - self._tick > _IDLE_TICKS:
            self._begin(last)
        while self._tick < last:
            self._tick += 1
            self._load = _KEPT * self._load + (1 - _KEPT) * self._arrived_s / _TICK_S
            self._arrived_s = 0.0
            self._step(self._tick * _TICK_S)

    def _step(self, now_s: float) -> None:
        error = self._error
        self._adapt_gain(error, now_s)
        if self._level is None:
            if error > 0:
                self._level = self._least_level
            return
        level = self._level + self._gain * _RISE_PER_S * _TICK_S * error
        self._level = None if level < self._least_level else min(level, math.log(LARGEST_PRICE))

    def _adapt_gain(self, error: float, now_s: float) -> None:
        if abs(error) < _CROSSED:
            return
        side = 1 if error > 0 else -1
        if self._level is None and side < 0:  # the price follows nothing
            self._side = side
        elif side != self._side:
            if now_s - self._crossed_s < _SWING_S:
                self._gain = max(_LEAST_GAIN, _SHRINK * self._gain)
            self._side, self._crossed_s = side, now_s
        elif now_s - self._crossed_s > _PATIENCE_S:
            self._gain = min(1.0, self._gain * math.exp(_TICK_S / _GROWTH_S))

    @property
    def _least_level(self) -> float:
        """Logarithm of the first price; below it the price is 0."""
        return math.log(max(LEAST_PRICE, _FIRST_ANSWERS / self._frame_s))


_IDLE_TICKS = round(60 / _TICK_S)  # after which even the highest price is 0 again
_KEPT = math.exp(-_TICK_S / _MEMORY_S)  # of the load, from tick to tick
