"""Forecast the link: observe transfers, predict the next one. Knows no socket.

`HarmonicMean` is the paper's point estimate. `RateForecast` gives a distribution: it tracks the rate and remembers the
errors of its last predictions. A steady link gives a narrow distribution, an unsteady link a wide one.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

import numpy as np

from janus_vit.planning.latency import Floats
from janus_vit.planning.outcome import Transfer

_SMALLEST_MBPS = 1e-3  # rate of a stalled link, so that divisions stay finite
_MEMORY = 0.9  # what followed a failure loses a tenth of its weight at each later failure
_SLOW_RANGE = math.log(100)
_SMALL_BYTES, _SHORT_S = 8000, 0.005  # below both, software overhead is most of a transfer's time


def _seen_mbps(transfer: Transfer, expected_mbps: float) -> float:
    """Rate of a transfer in 10^6 bit/s.

    A failed transfer has no rate, only an upper bound. It counts as half of the expected rate, or as its upper bound if
    that is lower.
    """
    rate_mbps = transfer.rate_mbps if transfer.delivered else min(transfer.rate_mbps, expected_mbps / 2)
    return max(rate_mbps, _SMALLEST_MBPS)


def _only_at_least(transfer: Transfer) -> bool:
    """Whether a transfer gives only a lower bound of the rate."""
    return transfer.delivered and transfer.size_bytes < _SMALL_BYTES and transfer.send_s < _SHORT_S


class RoundTrip:
    """Estimate the round trip by the median of the last observations, so that a single delayed frame does not count.

    Args:
        first_s: estimate before any observation.
        window: number of observations that count.
    """

    def __init__(self, first_s: float, window: int = 20) -> None:
        self._recent: deque[float] = deque([first_s], maxlen=window)

    def observe(self, transfer: Transfer) -> None:
        """Learn from one transfer; a transfer without an answer is ignored."""
        if transfer.rtt_s is not None:
            self._recent.append(max(transfer.rtt_s, 0.0))

    @property
    def seconds(self) -> float:
        """Current estimate in seconds."""
        return statistics.median(self._recent)


class HarmonicMean:
    """Estimate the bandwidth as the paper does: harmonic mean of the observed throughput.

    Args:
        cold_start_mbps: estimate before any observation, the paper's offline mean.
        window: number of observations that count; the paper does not give it.
    """

    def __init__(self, cold_start_mbps: float, window: int = 5) -> None:
        self._cold_start_mbps = cold_start_mbps
        self._recent: deque[float] = deque(maxlen=window)

    def observe(self, transfer: Transfer) -> None:
        """Learn from one transfer."""
        if not _only_at_least(transfer) or transfer.rate_mbps > self.rate_mbps:
            self._recent.append(_seen_mbps(transfer, self.rate_mbps))

    @property
    def rate_mbps(self) -> float:
        """Current estimate in 10^6 bit/s."""
        if not self._recent:
            return self._cold_start_mbps
        return len(self._recent) / sum(1 / rate for rate in self._recent)


class RateForecast:
    """Forecast the distribution of the next transfer's rate.

    While transfers are delivered, the centre is an exponential average of the logarithm of the rate. The spread is
    empirical: the last `window` ratios of observed to predicted rate, where failed transfers count with their upper
    bound. The probability of reaching a rate is the share of these ratios with which the centre would reach it.

    A failed transfer has one of two causes: a short gap, after which the link is as before, or a link that is slower
    than the transfer's upper bound. The probability of a gap is the share of transfers right after a failure that were
    delivered so far. In the other case the rate may be anything down to a hundredth of the upper bound.

    Args:
        cold_start_mbps: centre before any observation, in 10^6 bit/s.
        weight: weight of a new observation when the rate rises; when it falls, the weight is doubled.
        window: number of prediction errors that count.
    """

    def __init__(self, cold_start_mbps: float, weight: float = 0.2, window: int = 200) -> None:
        self._weight = weight
        self._log_rate = math.log(max(cold_start_mbps, _SMALLEST_MBPS))
        # Before any observation, the link may be five times faster or slower than its offline mean. Each observation
        # replaces the widest of these guesses.
        self._guesses = sorted(np.linspace(-1.6, 1.6, 12).tolist(), key=abs)
        self._log_errors: deque[float] = deque(maxlen=window)
        self._sorted = np.sort(self._guesses)
        self._seen = 0  # transfers since the average was restarted
        self._bound_mbps: float | None = None  # upper bound of the rate from the last transfer, if it failed
        self._failed_s = -math.inf  # when the last failed transfer was given up
        self._after_failure = [0.0, 0.0]  # transfers that began after a failure: number delivered, number failed

    def observe(self, transfer: Transfer) -> None:
        """Learn from one transfer."""
        stalled, self._bound_mbps = self._bound_mbps is not None, None
        stalled &= transfer.at_s - transfer.send_s - (transfer.rtt_s or 0.0) >= self._failed_s
        if stalled:
            self._count_after_failure(transfer.delivered)
        log_seen = math.log(_seen_mbps(transfer, self.rate_mbps))
        if not transfer.delivered:
            self._failed_s = transfer.at_s
            self._bound_mbps = math.exp(log_seen)
            if not stalled:
                self._remember(log_seen - self._log_rate)
        elif stalled:
            self._log_rate, self._seen = log_seen, 1  # the link may have changed: restart the average
        elif not (_only_at_least(transfer) and log_seen < self._log_rate):
            self._follow(log_seen - self._log_rate)

    def _follow(self, error: float) -> None:
        self._seen += 1
        # Follow a fall faster than a rise: a missed deadline costs more than an unused rate.
        self._log_rate += max(2 * self._weight if error < 0 else self._weight, 1 / self._seen) * error
        if self._seen > 1:  # the first prediction was the offline mean, not a forecast
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
        """Centre of the distribution in 10^6 bit/s, while transfers are delivered."""
        return math.exp(self._log_rate)

    def on_time(self, needed_mbps: Floats, at_most_mbps: float = math.inf) -> Floats:
        """Probability that the next transfer reaches each of the rates.

        A rate of 0 is always reached. No other rate is certain, because a link can fail at any time: below all observed
        rates, the risk of one observation remains, in proportion to the rate.

        Args:
            needed_mbps: the rates, in 10^6 bit/s.
            at_most_mbps: upper bound from a transfer that has not ended yet; it counts as failed.
        """
        reached = 1.0 - self._missed(needed_mbps)
        delivered, failed = (count + 1.0 for count in self._after_failure)
        if self._bound_mbps is not None:
            slow = np.clip(np.log(self._bound_mbps / np.maximum(needed_mbps, 1e-300)) / _SLOW_RANGE, 0.0, 1.0)
            reached = (delivered * reached + failed * slow) / (delivered + failed)
        elif at_most_mbps < math.inf:
            slow = np.maximum(0.0, 1.0 - self._missed(needed_mbps) / self._missed(np.asarray(at_most_mbps)))
            reached = (delivered * reached + failed * slow) / (delivered + failed)
        return np.where(needed_mbps > 0, reached, 1.0)

    def _missed(self, needed_mbps: Floats) -> Floats:
        """Probability that a transfer is slower than each of the rates, while transfers are delivered."""
        error = np.log(np.maximum(needed_mbps, 1e-300)) - self._log_rate
        ranks = np.arange(1, len(self._sorted) + 1) / (len(self._sorted) + 1)
        missed = np.interp(error, self._sorted, ranks, right=1.0)
        return np.asarray(missed * np.exp(np.minimum(error - self._sorted[0], 0.0)))
