"""Estimate the accuracy of any configuration from measured points. Knows no file and no plan.

The share of right answers depends on how much is merged and on the payload. Merging alone follows an isotonic fit of
the measured points, which never rises. A payload keeps a part of that share, its retention. A configuration that was
not measured has the estimate

    share(merging) * retention(payload),   retention(payload) = measured share with it / share(merging), at most 1

The ends of its interval are the products of the ends of both intervals, so it is wider than that of a measurement. A
measured payload may raise the share at some points, as coarse images can with much merging; an estimate never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from janus_vit.planning.accuracy.points import UNMERGED, Point, accuracy_name
from janus_vit.planning.latency import Floats
from janus_vit.planning.payloads import LOCAL

_SMALLEST_SHARE = 1e-3  # smallest divisor


def falling_fit(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the closest sequence that never rises, by weighted least squares (pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for value, weight in zip(values, weights, strict=True):
        pool = (value, weight, 1)
        while pools and pools[-1][0] < pool[0]:
            mean, heavy, members = pools.pop()
            total = heavy + pool[1]
            pool = ((mean * heavy + pool[0] * pool[1]) / total, total, members + pool[2])
        pools.append(pool)
    return [mean for mean, _, members in pools for _ in range(members)]


@dataclass(frozen=True)
class Band:
    """Values with intervals along an axis.

    Attributes:
        at: places on the axis, ascending, [points].
        value: values at these places, [points], or [points, ...] for many bands at once.
        low: lower ends of the intervals, same shape.
        high: upper ends of the intervals, same shape.
    """

    at: Floats
    value: Floats
    low: Floats
    high: Floats

    def along(self, places: ArrayLike) -> Band:
        """Return the band at other places.

        Values are interpolated linearly; intervals span those of both neighbours. Beyond the ends, the nearest point
        applies.

        Args:
            places: [places]; a single number if the values have more axes.
        """
        where = np.asarray(places, float)
        right = np.minimum(np.searchsorted(self.at, where), len(self.at) - 1)
        left = np.where(self.at[right] > where, np.maximum(right - 1, 0), right)
        gap = self.at[right] - self.at[left]
        share = np.where(gap > 0, where - self.at[left], 0.0) / np.where(gap > 0, gap, 1.0)
        return Band(
            where,
            self.value[left] + share * (self.value[right] - self.value[left]),
            np.minimum(self.low[left], self.low[right]),
            np.maximum(self.high[left], self.high[right]),
        )

    def times(self, factor: Band) -> Band:
        """Multiply by a factor at the same places; upper ends are limited to 1."""
        high = np.minimum(self.high * factor.high, 1.0)
        return Band(self.at, self.value * factor.value, np.minimum(self.low * factor.low, high), high)


class Retention:
    """Estimates for one model; see the module.

    Args:
        points: measured configurations; one of them merges nothing and loses nothing.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        whole = [point for point in points if accuracy_name(point.payload) == LOCAL]
        self._curves = {  # family -> share by tokens saved, with a lossless payload
            family: _falling([point for point in whole if point.saved == 0 or point.family == family])
            for family in {UNMERGED, *(point.family for point in whole)}
        }
        lossy = [point for point in points if accuracy_name(point.payload) != LOCAL]
        names = {accuracy_name(point.payload) for point in lossy}
        self._kept = {name: self._by_split([p for p in lossy if accuracy_name(p.payload) == name]) for name in names}

    def inferred(self, family: str, saved: Floats, split: int, payload: str) -> Band:
        """Estimate the share of configurations.

        Args:
            family: family of the schedules.
            saved: tokens saved by each schedule, [levels].
            split: split point.
            payload: payload format.

        Returns:
            Shares, [levels]; the value is NaN where more is merged than was measured, or the payload was not measured.
        """
        curve, name = self._curve(family), accuracy_name(payload)
        band, known = curve.along(saved), saved <= curve.at[-1]
        if name in self._kept:
            band = band.times(_stacked(self._kept[name], saved).along(split))
        elif name != LOCAL:
            known = np.zeros_like(known)
        return replace(band, value=np.where(known, band.value, np.nan))

    def _curve(self, family: str) -> Band:
        return self._curves.get(family, self._curves[UNMERGED])

    def _by_split(self, points: Sequence[Point]) -> dict[int, Band]:
        """Retention of one payload by tokens saved, at each split where it was measured."""
        splits = sorted({point.split for point in points})
        return {split: self._retention([point for point in points if point.split == split]) for split in splits}

    def _retention(self, points: Sequence[Point]) -> Band:
        points = sorted(points, key=lambda point: point.saved)
        merged = [float(self._curve(point.family).along(point.saved).value) for point in points]
        shares = np.array([(point.share, *point.interval) for point in points]).T  # [3, points]
        value, low, high = shares / np.maximum(merged, _SMALLEST_SHARE)
        return Band(np.array([point.saved for point in points], float), np.minimum(value, 1.0), low, high)


def _falling(points: Sequence[Point]) -> Band:
    """Share by tokens saved, fitted so that it never rises."""
    ordered = sorted(points, key=lambda point: point.saved)
    value = np.array(falling_fit([point.share for point in ordered], [point.frames for point in ordered]))
    low, high = np.array([point.interval for point in ordered]).T
    at = np.array([point.saved for point in ordered], float)
    return Band(at, value, np.minimum(low, value), np.maximum(high, value))


def _stacked(by_split: dict[int, Band], saved: Floats) -> Band:
    """Retention along the splits, [splits, levels], at these numbers of tokens saved."""
    bands = [band.along(saved) for band in by_split.values()]
    value, low, high = (np.stack([getattr(band, part) for band in bands]) for part in ("value", "low", "high"))
    return Band(np.array(list(by_split), float), value, low, high)
