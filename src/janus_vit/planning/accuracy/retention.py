"""From measured points to a share with an interval for any configuration. Knows no file and no plan.

A configuration is how much it merges and what crosses the network. Merging alone follows a curve that never rises: the
isotonic fit of what was measured. A payload then keeps its own part of what merging left, so a configuration that was
not measured has the share

    share(merging) * retention(payload),   retention(payload) = measured share with it / share(merging), at most 1

and an interval that multiplies the ends of both: wider than that of a measurement. A payload that helps somewhere, as
coarse images can under much merging, is not expected to help elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from janus_vit.planning.accuracy.points import UNMERGED, Point, carrier
from janus_vit.planning.latency import Floats
from janus_vit.planning.payloads import LOCAL

_LEAST = 1e-3  # of a share that something is divided by


def falling_fit(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The closest sequence, by weighted squares, that never rises: pool adjacent violators."""
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
    """Values with their intervals along an axis.

    Attributes:
        at: ascending places, [points]. value, low, high: [points], or [points, ...] for many bands at once.
    """

    at: Floats
    value: Floats
    low: Floats
    high: Floats

    def along(self, places: ArrayLike) -> Band:
        """The band at other places: between two points in a line, and anywhere between the ends of their intervals.

        Outside all points the nearest one stands.

        Args:
            places: [places]; a single number if the band's values have more axes.
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
        """The product with a factor at the same places, none above 1."""
        high = np.minimum(self.high * factor.high, 1.0)
        return Band(self.at, self.value * factor.value, np.minimum(self.low * factor.low, high), high)


class Retention:
    """The rule above, over the points of one model, the one without merging and losses among them."""

    def __init__(self, points: Sequence[Point]) -> None:
        whole = [point for point in points if carrier(point.payload) == LOCAL]
        self._curves = {  # family -> share by tokens saved, nothing lost on the way
            family: _falling([point for point in whole if point.saved == 0 or point.family == family])
            for family in {UNMERGED, *(point.family for point in whole)}
        }
        lossy = [point for point in points if carrier(point.payload) != LOCAL]
        names = {carrier(point.payload) for point in lossy}
        self._kept = {name: self._by_split([p for p in lossy if carrier(p.payload) == name]) for name in names}

    def inferred(self, family: str, saved: Floats, split: int, payload: str) -> Band:
        """Share by tokens saved [levels], at a split and with a payload; the value is NaN beyond what was measured."""
        curve, name = self._curve(family), carrier(payload)
        band, known = curve.along(saved), saved <= curve.at[-1]
        if name in self._kept:
            band = band.times(_stacked(self._kept[name], saved).along(split))
        elif name != LOCAL:
            known = np.zeros_like(known)
        return replace(band, value=np.where(known, band.value, np.nan))

    def _curve(self, family: str) -> Band:
        return self._curves.get(family, self._curves[UNMERGED])

    def _by_split(self, points: Sequence[Point]) -> dict[int, Band]:
        """One payload's retention by tokens saved, at each split where it was measured."""
        splits = sorted({point.split for point in points})
        return {split: self._retention([point for point in points if point.split == split]) for split in splits}

    def _retention(self, points: Sequence[Point]) -> Band:
        points = sorted(points, key=lambda point: point.saved)
        left = [float(self._curve(point.family).along(point.saved).value) for point in points]
        shares = np.array([(point.share, *point.interval) for point in points]).T  # [3, points]
        value, low, high = shares / np.maximum(left, _LEAST)
        return Band(np.array([point.saved for point in points], float), np.minimum(value, 1.0), low, high)


def _falling(points: Sequence[Point]) -> Band:
    """Share by tokens saved, which never rises."""
    ordered = sorted(points, key=lambda point: point.saved)
    value = np.array(falling_fit([point.share for point in ordered], [point.frames for point in ordered]))
    low, high = np.array([point.interval for point in ordered]).T
    at = np.array([point.saved for point in ordered], float)
    return Band(at, value, np.minimum(low, value), np.maximum(high, value))


def _stacked(by_split: dict[int, Band], saved: Floats) -> Band:
    """Retention [splits, levels] at so many tokens saved, along splits."""
    bands = [band.along(saved) for band in by_split.values()]
    value, low, high = (np.stack([getattr(band, part) for band in bands]) for part in ("value", "low", "high"))
    return Band(np.array(list(by_split), float), value, low, high)
