"""The throughput of a link over time, as a trace. Knows no files, sockets or wall clocks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from janus_vit.errors import InputError
from janus_vit.planning.latency import Floats

MAX_MBPS = 1e6  # a larger number is probably a rate in bit/s
MAX_INTERVAL_S = 24 * 3600


@dataclass(frozen=True, eq=False)
class Trace:
    """The rate of a link over time, in steps of equal length. A trace repeats at its end.

    Traces compare by identity.

    Attributes:
        name: name for tables and records.
        interval_s: length of a step in seconds.
        mbps: rate in each step in 10^6 bit/s, [steps] float64, read-only. A rate of 0 is an outage.
        meta: where the trace comes from, as text by key.

    Raises:
        InputError: there are no rates, every rate is 0, or a rate is negative, too large or not finite.
    """

    name: str
    interval_s: float
    mbps: Floats
    meta: Mapping[str, str] = field(default_factory=dict)
    _bits_before: tuple[float, ...] = field(init=False, repr=False)  # [steps + 1], within one loop

    def __post_init__(self) -> None:
        mbps = np.array(self.mbps, dtype=np.float64)
        if mbps.ndim != 1 or mbps.size == 0:
            raise InputError(f"trace {self.name!r}: mbps has shape {mbps.shape}: use one row of rates")
        if not (np.isfinite(mbps).all() and (mbps >= 0).all() and (mbps <= MAX_MBPS).all()):
            raise InputError(f"trace {self.name!r}: every rate must be between 0 and {MAX_MBPS:g} Mbps")
        if not 0 < self.interval_s <= MAX_INTERVAL_S:
            raise InputError(
                f"trace {self.name!r}: interval_s is {self.interval_s}: "
                f"use more than 0 and at most {MAX_INTERVAL_S} seconds"
            )
        bits = np.concatenate([[0.0], np.cumsum(mbps * 1e6 * self.interval_s)])
        if bits[-1] < 1:
            raise InputError(f"trace {self.name!r}: every rate is 0: use at least one above 0")
        mbps.setflags(write=False)
        object.__setattr__(self, "mbps", mbps)
        object.__setattr__(self, "meta", dict(self.meta))
        object.__setattr__(self, "_bits_before", tuple(bits.tolist()))

    @property
    def duration_s(self) -> float:
        """Seconds until the trace repeats."""
        return len(self.mbps) * self.interval_s

    @property
    def mean_mbps(self) -> float:
        """Mean rate over the whole trace."""
        return self._bits_before[-1] / self.duration_s / 1e6

    def rate_at(self, time_s: float) -> float:
        """Return the rate at a time, in Mbps."""
        return float(self.mbps[self._step_at(time_s % self.duration_s) % len(self.mbps)])

    def bits_between(self, start_s: float, end_s: float) -> float:
        """Return how many bits the link can carry between two times: the exact integral of the rate."""
        start_loop, start = divmod(start_s, self.duration_s)
        end_loop, end = divmod(end_s, self.duration_s)
        whole_loops_bits = (end_loop - start_loop) * self._bits_before[-1]
        return whole_loops_bits + self._bits_until(end) - self._bits_until(start)

    def finish_time(self, start_s: float, size_bytes: float) -> float:
        """Return when a transfer of `size_bytes` that starts at `start_s` ends, in seconds.

        The transfer has the link to itself, and waits in steps of rate 0. Zero bytes end at `start_s`. Fast (one
        bisection), because simulators call this in their inner loop.
        """
        if size_bytes <= 0:
            return start_s
        loop, offset_s = divmod(start_s, self.duration_s)
        loop_bits = self._bits_before[-1]
        more_loops, bits = divmod(self._bits_until(offset_s) + 8 * size_bytes, loop_bits)
        if bits == 0:  # the transfer ends with the last bit of a loop, not after an outage that ends the loop
            more_loops, bits = more_loops - 1, loop_bits
        step = bisect_left(self._bits_before, bits) - 1
        # bits_before[step] < bits <= bits_before[step + 1], so the rate of this step is above 0
        before, after = self._bits_before[step], self._bits_before[step + 1]
        finish_s = (step + (bits - before) / (after - before)) * self.interval_s
        return max(start_s, (loop + more_loops) * self.duration_s + finish_s)

    def finish_times(self, starts_s: Floats, sizes_bytes: Floats) -> Floats:
        """Return `finish_time` of many transfers, each of which has the link to itself."""
        before = np.array(self._bits_before)
        loops, offsets_s = np.divmod(starts_s, self.duration_s)
        sent = np.interp(offsets_s / self.interval_s, np.arange(len(before)), before)
        more_loops, bits = np.divmod(sent + 8 * sizes_bytes, before[-1])
        at_end = bits == 0  # as in finish_time
        more_loops, bits = more_loops - at_end, np.where(at_end, before[-1], bits)
        step = np.searchsorted(before, bits) - 1
        within = (bits - before[step]) / (before[step + 1] - before[step])
        finish_s = (loops + more_loops) * self.duration_s + (step + within) * self.interval_s
        return np.where(sizes_bytes > 0, np.maximum(starts_s, finish_s), starts_s)

    def _step_at(self, offset_s: float) -> int:
        # 0.3 / 0.1 is slightly below 3: without the small addition, a step would start too late
        return int(offset_s / self.interval_s + 1e-9)

    def _bits_until(self, offset_s: float) -> float:
        step = min(self._step_at(offset_s), len(self.mbps) - 1)
        before, after = self._bits_before[step], self._bits_before[step + 1]
        return before + (after - before) * (offset_s / self.interval_s - step)
