"""How a fleet settles after a step in load: how long it takes, and how often it swings past its new state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from janus_vit.fleet.results import FleetFrames
from janus_vit.planning.latency import Floats

BIN_S = 0.5
_BAND = 0.1  # of all frames of a bin: a smaller difference is no swing


@dataclass(frozen=True, slots=True)
class Settling:
    """What follows a step.

    Attributes:
        seconds: from the step until the state stays near its final one.
        swings: how often it passed its final state on the way.
    """

    seconds: float
    swings: int


def sent_shares(frames: FleetFrames, from_s: float, to_s: float) -> Floats:
    """Share of the frames that devices sent, for each `BIN_S` between two times."""
    edges = np.arange(from_s, to_s + BIN_S / 2, BIN_S)
    taken, _ = np.histogram(frames.captured_s, edges)
    sent, _ = np.histogram(frames.captured_s[frames.kind > 0], edges)
    return np.asarray(sent / np.maximum(taken, 1))


def settling(shares: Sequence[float] | Floats) -> Settling:
    """Judge a series of shares that begins with the step; its last third counts as the final state.

    A swing is a stretch of the series on one side of the final state, outside of a band around it, that follows a
    stretch on the other side.
    """
    values = np.asarray(shares, float)
    final = float(values[-max(1, len(values) // 3) :].mean())
    sides = np.where(values > final + _BAND, 1, np.where(values < final - _BAND, -1, 0))
    outside = np.flatnonzero(sides)
    seconds = BIN_S * (outside[-1] + 1) if len(outside) else 0.0
    visited = sides[outside]
    return Settling(float(seconds), int((visited[1:] != visited[:-1]).sum()))
