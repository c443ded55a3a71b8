"""The link's future from its past: observe transfers, predict the next one. Knows no socket.

`HarmonicMean` is the paper's point estimate. `RateForecast` gives a distribution instead: it tracks the rate and
keeps how wrong its own last predictions were, so that a calm link gives a narrow distribution and a wild one a wide.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

import numpy as np

from janus_vit.planning.latency import Floats
from janus_vit.planning.outcome import Transfer

_SMALLEST_MBPS = 1e-3  # a stalled link; keeps divisions finite
_MEMORY = 0.9  # of what followed a failure, per later one
_SLOW_RANGE = math.log(100)
_SMALL_BYTES, _SHORT_S = 8000, 0.005  # below both, a transfer's time is mostly the software's own millisecond


def _seen_mbps(transfer: Transfer, expected_mbps: float) -> float:
    """The rate that a transfer stands for.

    One that failed shows an upper bound only, and none at all if it was refused at once: it counts as half of what
    was expected, or as its bound if that is less.
    """
    rate_mbps = transfer.rate_mbps if transfer.delivered else min(transfer.rate_mbps, expected_mbps / 2)
    return max(rate_mbps, _SMALLEST_MBPS)


def _only_at_least(transfer: Transfer) -> bool:
    """Whether a transfer shows only that the link is at least as fast as this."""
    return transfer.delivered and transfer.size_bytes < _SMALL_BYTES and transfer.send_s < _SHORT_S


class RoundTrip:
    """The round trip: median of the last observations, which one frame stuck in a queue does not move."""

    def __init__(self, first_s: float, window: int = 20) -> None:
        self._recent: deque[float] = deque([first_s], maxlen=window)

    def observe(self, transfer: Transfer) -> None:
        """Take in one transfer; one without an answer says nothing."""
        if transfer.rtt_s is not None:
            self._recent.append(max(transfer.rtt_s, 0.0))

    @property
    def seconds(self) -> float:
        """Current estimate."""
        return statistics.median(self._recent)


class HarmonicMean:
    """The paper's bandwidth: harmonic mean of the observed throughput, the offline mean before any.

    Args:
        cold_start_mbps: the offline mean.
        window: how many observations count; the paper does not say.
    """

    def __init__(self, cold_start_mbps: float, window: int = 5) -> None:
        self._cold_start_mbps = cold_start_mbps
        self._recent: deque[float] = deque(maxlen=window)

    def observe(self, transfer: Transfer) -> None:
        """Take in one transfer."""
        if not _only_at_least(transfer) or transfer.rate_mbps > self.rate_mbps:
            self._recent.append(_seen_mbps(transfer, self.rate_mbps))

    @property
    def rate_mbps(self) -> float:
        """Current estimate in 10^6 bit/s."""
        if not self._recent:
            return self._cold_start_mbps
        return len(self._recent) / sum(1 / rate for rate in self._recent)


class RateForecast:
    """A distribution of the next transfer's rate.

    While the link delivers, the centre is an exponential average of the logarithm of the rate, and the spread is
    empirical: the last `window` ratios of observed to predicted rate, failed transfers among them with what they show
    at most. Predicting is then looking up which share of past errors would have been mild enough.

    A transfer that fails is another matter: the link is slower than the failure shows, if not dead, or it was a short
    gap and all is as before. Until one is delivered, the second is as probable as a transfer after a failed one was
    delivered so far, and in the first case the rate may be anything down to a hundredth of the failure's bound.
    """

    def __init__(self, cold_start_mbps: float, weight: float = 0.2, window: int = 200) -> None:
        self._weight = weight
        self._log_rate = math.log(max(cold_start_mbps, _SMALLEST_MBPS))
        # Before observations: an unknown link may be five times faster or slower than its offline mean. Each
        # observation takes the place of the widest of these guesses.
        self._guesses = sorted(np.linspace(-1.6, 1.6, 12).tolist(), key=abs)
        self._log_errors: deque[float] = deque(maxlen=window)
        self._sorted = np.sort(self._guesses)
        self._seen = 0  # transfers since the average began
        self._bound_mbps: float | None = None  # what the last transfer shows if it failed
        self._after_failure = [0.0, 0.0]  # how many transfers after a failed one were delivered, how many failed again

    def observe(self, transfer: Transfer) -> None:
        """Take in one transfer."""
        stalled, self._bound_mbps = self._bound_mbps is not None, None
        if stalled:
            self._count_after_failure(transfer.delivered)
        log_seen = math.log(_seen_mbps(transfer, self.rate_mbps))
        if not transfer.delivered:
            self._bound_mbps = math.exp(log_seen)
            if not stalled:
                self._remember(log_seen - self._log_rate)
        elif stalled:
            self._log_rate, self._seen = log_seen, 1  # another regime: the average starts anew
        elif not (_only_at_least(transfer) and log_seen < self._log_rate):
            self._follow(log_seen - self._log_rate)

    def _follow(self, error: float) -> None:
        self._seen += 1
        # A drop is followed faster than a rise: missing a deadline costs more than a missed chance.
        self._log_rate += max(2 * self._weight if error < 0 else self._weight, 1 / self._seen) * error
        if self._seen > 1:  # the offline mean was no forecast
            self._remember(error)

    def _remember(self, error: float) -> None:
        self._log_errors.append(error)
        if self._guesses:
            self._guesses.pop()
        self._sorted = np.sort([*self._guesses, *self._log_errors])

    def _count_after_failure(self, delivered: bool) -> None:
        self._after_failure = [_MEMORY * count for count in self._after_failure]
        self._after_failure[0 if delivered else 1] += 1.0

    @property
    def rate_mbps(self) -> float:
        """Centre of the distribution in 10^6 bit/s, as long as the link delivers."""
        return math.exp(self._log_rate)

    def on_time(self, needed_mbps: Floats) -> Floats:
        """Probability that the next transfer reaches at least each of the rates.

        A rate of 0 is always reached. Nothing else is certain: a link can die at any time, so a rate below all
        that was ever seen keeps half of the smallest rank as its risk.
        """
        error = np.log(np.maximum(needed_mbps, 1e-300)) - self._log_rate
        ranks = np.arange(1, len(self._sorted) + 1) / (len(self._sorted) + 1)
        reached = 1.0 - np.interp(error, self._sorted, ranks, left=ranks[0] / 2, right=1.0)
        if self._bound_mbps is not None:
            back, gone = (count + 1.0 for count in self._after_failure)
            slow = np.clip(np.log(self._bound_mbps / np.maximum(needed_mbps, 1e-300)) / _SLOW_RANGE, 0.0, 1.0)
            reached = (back * reached + gone * slow) / (back + gone)
        return np.where(needed_mbps > 0, reached, 1.0)
