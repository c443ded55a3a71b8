"""Made-up traces of mobile links: seeded, so that a test or a demonstration needs no recording.

A link moves between a few states (a good cell, a cell edge, ...), each with a mean rate and a mean dwell.
Around the state's mean the rate is a log-normal AR(1) process, cut at what the cell gives one device; outages
strike at random and last a random while. The figures are chosen so that 1-second averages resemble recorded
uplinks. They are no model of radio, and know nothing of delay or loss.

What 20 seeds of 600 s give, beside the recording aimed at. All figures are of 1-second averages: mean (over
the seeds; their range), CV (standard deviation by mean), minimum, share of time below 0.1 Mbps (each the
median of the seeds).

    scenario       mean Mbps          CV    min   <0.1   recorded                mean   CV    min   <0.1
    3g-static        1.10 (1.0-1.2)   0.17  0.67   0 %   none
    3g-walking       0.97 (0.8-1.1)   0.42  0.35   0 %   3G, tram               0.95   0.43  0.34   0 %
    3g-driving       0.94 (0.8-1.1)   0.47  0.00   6 %   UMTS, driving          0.93   0.47  0.00   6 %
    lte-static      53.9  (50-57)     0.15  40.8   0 %   LTE, static           54.1    0.17  40.9   0 %
    lte-walking     48.0  (46-50)     0.15  40.4   0 %   LTE, walking          48.3    0.16  40.3   0 %
    lte-driving     30.7  (28-34)     0.40  4.14   0 %   LTE, driving          31.0    0.38  2.98   0 %
    5g-static      128.5  (125-133)   0.15  59.2   0 %   5G mmWave, static    130.4    0.16  43.3   0 %
    5g-walking      51.0  (46-56)     0.44  15.5   0 %   5G mmWave, walking    50.8    0.44  8.45   0 %
    5g-driving      33.4  (27-39)     0.68  0.00   1 %   5G mmWave, driving    32.8    0.64  0.00   0 %
    wifi-static     27.1  (26-28)     0.27  7.77   0 %   WiFi, office          26.8    0.28  3.16   0 %
    wifi-walking    24.8  (18-30)     0.93  0.00  23 %   WiFi, walking         25.4    0.89  0.00  23 %
    wifi-driving     5.8  (4-7)       1.28  0.00  39 %   none
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from janus_vit.errors import InputError
from janus_vit.links.traces import Trace, read_trace

MAX_STEPS = 10_000_000
CONSTANT = "constant:"


@dataclass(frozen=True)
class State:
    """A stretch of the way on which the link is about equally good."""

    mean_mbps: float
    dwell_s: float  # mean; dwells are exponential


@dataclass(frozen=True)
class Scenario:
    """Parameters of one technology and mobility. From a state the link goes to any other, equally likely."""

    states: tuple[State, ...]
    spread: float  # standard deviation of the natural log of the rate within a state
    memory_s: float  # time over which that log's correlation falls to 1/e
    ceiling_mbps: float  # what the cell gives a single device at best
    outage_every_s: float = math.inf  # mean time from the end of an outage to the next
    outage_s: float = 0.0  # mean length of an outage (exponential), at rate 0


SCENARIOS = {
    # A phone on a table keeps its cell; neighbours come and go, which shifts the rate by a third.
    "3g-static": Scenario((State(1.2, 40), State(0.9, 20)), 0.12, 2, 2.2),
    # Walking has no 3G recording either: the tram stops and goes about as slowly.
    "3g-walking": Scenario((State(1.5, 15), State(0.9, 25), State(0.5, 15)), 0.15, 3, 2.2),
    # The UMTS uplink saturates at 1.5; hard handovers cut it for some seconds about once a minute.
    "3g-driving": Scenario((State(1.38, 25), State(0.98, 25), State(0.4, 10)), 0.25, 1, 1.5, 42, 3.2),
    # The plateaus of the joined static runs, each of them almost flat.
    "lte-static": Scenario((State(64, 20), State(53, 20), State(44, 20)), 0.04, 0.5, 65),
    # Flat at 45 for most of the way; a wider carrier now and then.
    "lte-walking": Scenario((State(64, 8), State(44.5, 40)), 0.04, 1, 65),
    # Near the cell the uplink sits at its 46 ceiling; the edge gives a quarter. Outages: one in 5 minutes.
    "lte-driving": Scenario((State(45, 16), State(30, 12), State(13, 9)), 0.25, 1.5, 46, 300, 0.7),
    # In the beam, a weaker beam, and a body or a bus in the beam for a second.
    "5g-static": Scenario((State(148, 12), State(112, 6), State(70, 1)), 0.12, 0.4, 150),
    # Turning and walking away blocks the beam every few steps: large, quick swings.
    "5g-walking": Scenario((State(80, 10), State(48, 16), State(25, 10)), 0.28, 0.3, 125),
    # mmWave is met for seconds at a time, the rest is the LTE leg; rare outages of some seconds.
    "5g-driving": Scenario((State(80, 4), State(42, 20), State(14, 18)), 0.35, 1, 140, 250, 3),
    # An access point that is now and then busy with somebody else.
    "wifi-static": Scenario((State(31, 16), State(9, 3)), 0.08, 0.5, 32),
    # Leaving the building: long fades, and no signal for a quarter of the way.
    "wifi-walking": Scenario((State(56, 12), State(31, 14), State(10, 8)), 0.4, 1.5, 80, 14, 5.4),
    # Nobody recorded it: access points passed by, each in reach for some seconds, assumed half of the time.
    "wifi-driving": Scenario((State(16, 8), State(4, 8)), 0.6, 1.5, 30, 12, 10),
}


def generate(technology: str, mobility: str, duration_s: float, seed: int, interval_s: float = 0.1) -> Trace:
    """A trace of the scenario `<technology>-<mobility>`, named after it and the seed.

    Same arguments, same trace; another interval_s is another trace. duration_s is rounded to whole steps of
    interval_s. The first step is never an outage. Raises InputError for an unknown scenario, a length or a
    step that is not above 0, more than 10 million steps, or a negative seed.
    """
    name = f"{technology}-{mobility}"
    if name not in SCENARIOS:
        raise InputError(f"no scenario {name!r}; choose one of {', '.join(SCENARIOS)}.")
    if seed < 0:
        raise InputError(f"seed is {seed}; give a whole number of 0 or more.")
    if not (0 < interval_s <= duration_s and duration_s / interval_s <= MAX_STEPS):
        raise InputError(
            f"duration_s is {duration_s} in steps of {interval_s}; give seconds above 0, "
            f"a length of at least one step and at most {MAX_STEPS:,} steps."
        )
    scenario = SCENARIOS[name]
    steps = round(duration_s / interval_s)
    random = np.random.Generator(np.random.PCG64(seed))
    mean_mbps = _state_means(scenario, steps, interval_s, random)
    fading = _fading(scenario, steps, interval_s, random)
    mbps = np.minimum(mean_mbps * fading, scenario.ceiling_mbps)
    mbps[_outages(scenario, steps, interval_s, random)] = 0
    meta = {"generator": f"{__name__} {name}", "seed": str(seed), "parameters": str(scenario)}
    return Trace(f"{name}-{seed}", interval_s, mbps, meta)


def trace_from(spec: str, duration_s: float, seed: int) -> Trace:
    """The trace that a user named: a scenario (`lte-driving`), a rate (`constant:20`, in Mbps) or a file.

    duration_s and seed are for scenarios; a constant lasts duration_s; a file is taken as it is, and loops.
    Raises InputError when the name is none of these or what it names cannot be used.
    """
    if spec in SCENARIOS:
        technology, mobility = spec.split("-")
        return generate(technology, mobility, duration_s, seed)
    if spec.startswith(CONSTANT):
        return _constant(spec, duration_s)
    if not os.path.exists(spec):  # False, where Path.exists raises, for what cannot even be a path
        raise InputError(
            f"{spec!r} is neither a file nor a rate such as '{CONSTANT}20' nor one of the scenarios "
            f"{', '.join(SCENARIOS)}; give one of these."
        )
    return read_trace(spec)


def _constant(spec: str, duration_s: float) -> Trace:
    try:
        mbps = float(spec.removeprefix(CONSTANT))
    except ValueError:
        raise InputError(f"{spec!r}: the rate is not a number; write Mbps as in '{CONSTANT}20'.") from None
    return Trace(spec, duration_s, np.array([mbps]))


def _state_means(
    scenario: Scenario, steps: int, interval_s: float, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Mean rate of the state that holds in each step, Mbps [steps]."""
    dwells_s = np.array([state.dwell_s for state in scenario.states])
    state = int(random.choice(len(dwells_s), p=dwells_s / dwells_s.sum()))  # any moment of an endless walk
    means = np.empty(steps)
    end = 0
    end_s = 0.0
    while end < steps:
        start, end_s = end, end_s + random.exponential(dwells_s[state])
        end = round(end_s / interval_s)
        means[start:end] = scenario.states[state].mean_mbps
        state = (state + 1 + int(random.integers(len(dwells_s) - 1))) % len(dwells_s)
    return means


def _fading(scenario: Scenario, steps: int, interval_s: float, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Factor of mean 1 by which the rate strays from its state's mean, [steps]."""
    keep = math.exp(-interval_s / scenario.memory_s)
    level = random.normal(0, scenario.spread)
    levels = []
    for shock in random.normal(0, scenario.spread * math.sqrt(1 - keep**2), steps).tolist():
        level = keep * level + shock
        levels.append(level)
    return np.exp(np.array(levels) - scenario.spread**2 / 2)


def _outages(scenario: Scenario, steps: int, interval_s: float, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """True in the steps without any link, [steps]. Never in the first: some link there has to be."""
    out = np.zeros(steps, dtype=np.bool_)
    start_s = random.exponential(scenario.outage_every_s)
    while start_s < steps * interval_s:
        end_s = start_s + random.exponential(scenario.outage_s)
        out[1 + int(start_s / interval_s) : 1 + int(end_s / interval_s)] = True
        start_s = end_s + random.exponential(scenario.outage_every_s)
    return out
