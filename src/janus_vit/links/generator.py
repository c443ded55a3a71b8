"""Generate traces of mobile links from a seed, so that tests and demonstrations need no recordings.

A link moves between a few states (a good cell, a cell edge, ...), each with a mean rate and a mean duration. Within a
state the rate is a log-normal AR(1) process, limited by what the cell gives one device. Outages begin at random and
have random lengths. The parameters are chosen so that 1-second averages resemble recorded uplinks. They do not model
radio, delay or loss.

The table compares 20 seeds of 600 s with the recording that each scenario imitates. All figures are of 1-second
averages: mean (over the seeds, with their range), CV (standard deviation divided by mean), minimum, and share of time
below 0.1 Mbps (each the median over the seeds).

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
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from janus_vit.errors import InputError
from janus_vit.links.trace_files import read_trace
from janus_vit.links.traces import Trace
from janus_vit.planning.jsonfile import shown

MAX_STEPS = 10_000_000
CONSTANT = "constant:"
_RATE = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?", re.IGNORECASE)
_LONGEST_RATE = 40


@dataclass(frozen=True)
class State:
    """A period in which the quality of the link stays about the same.

    Attributes:
        mean_mbps: mean rate in this state.
        dwell_s: mean duration of a stay in this state; durations are exponential.
    """

    mean_mbps: float
    dwell_s: float


@dataclass(frozen=True)
class Scenario:
    """Parameters of one technology and mobility. The next state is any other state, with equal probability.

    Attributes:
        states: the states of the link.
        spread: standard deviation of the natural logarithm of the rate within a state.
        memory_s: time over which the correlation of that logarithm falls to 1/e.
        ceiling_mbps: highest rate that the cell gives to one device.
        outage_every_s: mean time from the end of an outage to the start of the next.
        outage_s: mean length of an outage, at rate 0; lengths are exponential.
    """

    states: tuple[State, ...]
    spread: float
    memory_s: float
    ceiling_mbps: float
    outage_every_s: float = math.inf
    outage_s: float = 0.0


SCENARIOS = {
    # A phone on a table keeps its cell. Other users come and go, which shifts the rate by a third.
    "3g-static": Scenario((State(1.2, 40), State(0.9, 20)), spread=0.12, memory_s=2, ceiling_mbps=2.2),
    # There is no recording of walking. A tram that stops and starts moves about as slowly.
    "3g-walking": Scenario((State(1.5, 15), State(0.9, 25), State(0.5, 15)), spread=0.15, memory_s=3, ceiling_mbps=2.2),
    # The UMTS uplink saturates at 1.5 Mbps. Hard handovers interrupt it for some seconds about once a minute.
    "3g-driving": Scenario(
        (State(1.38, 25), State(0.98, 25), State(0.4, 10)),
        spread=0.25,
        memory_s=1,
        ceiling_mbps=1.5,
        outage_every_s=42,
        outage_s=3.2,
    ),
    # The plateaus of the joined static runs, each of them almost flat.
    "lte-static": Scenario((State(64, 20), State(53, 20), State(44, 20)), spread=0.04, memory_s=0.5, ceiling_mbps=65),
    # Flat at 45 Mbps most of the time, and a wider carrier from time to time.
    "lte-walking": Scenario((State(64, 8), State(44.5, 40)), spread=0.04, memory_s=1, ceiling_mbps=65),
    # Near the cell the uplink stays at its ceiling of 46 Mbps, at the edge it has a quarter. One outage in 5 minutes.
    "lte-driving": Scenario(
        (State(45, 16), State(30, 12), State(13, 9)),
        spread=0.25,
        memory_s=1.5,
        ceiling_mbps=46,
        outage_every_s=300,
        outage_s=0.7,
    ),
    # In the beam, in a weaker beam, and a person or a bus that blocks the beam for a second.
    "5g-static": Scenario((State(148, 12), State(112, 6), State(70, 1)), spread=0.12, memory_s=0.4, ceiling_mbps=150),
    # Turning and walking away block the beam every few steps, which causes large and fast changes.
    "5g-walking": Scenario((State(80, 10), State(48, 16), State(25, 10)), spread=0.28, memory_s=0.3, ceiling_mbps=125),
    # mmWave for some seconds at a time and LTE otherwise, with rare outages of some seconds.
    "5g-driving": Scenario(
        (State(80, 4), State(42, 20), State(14, 18)),
        spread=0.35,
        memory_s=1,
        ceiling_mbps=140,
        outage_every_s=250,
        outage_s=3,
    ),
    # An access point that sometimes serves other users.
    "wifi-static": Scenario((State(31, 16), State(9, 3)), spread=0.08, memory_s=0.5, ceiling_mbps=32),
    # Leaving the building: long fades, and no signal for a quarter of the time.
    "wifi-walking": Scenario(
        (State(56, 12), State(31, 14), State(10, 8)),
        spread=0.4,
        memory_s=1.5,
        ceiling_mbps=80,
        outage_every_s=14,
        outage_s=5.4,
    ),
    # There is no recording. Assumes that passing access points are in reach half of the time, for some seconds each.
    "wifi-driving": Scenario(
        (State(16, 8), State(4, 8)),
        spread=0.6,
        memory_s=1.5,
        ceiling_mbps=30,
        outage_every_s=12,
        outage_s=10,
    ),
}


def generate(technology: str, mobility: str, duration_s: float, seed: int, interval_s: float = 0.1) -> Trace:
    """Generate a trace of the scenario `<technology>-<mobility>`. Equal arguments give equal traces.

    Args:
        technology: 3g, lte, 5g or wifi.
        mobility: static, walking or driving.
        duration_s: length of the trace, rounded to whole steps.
        seed: seed of the random generator.
        interval_s: length of a step. Another length gives another trace.

    Returns:
        A trace named after the scenario and the seed. Its first step is never an outage.

    Raises:
        InputError: the scenario is unknown, the duration or the step is not above 0, there are more than 10 million
            steps, or the seed is negative.
    """
    name = f"{technology}-{mobility}"
    if name not in SCENARIOS:
        raise InputError(f"scenario {name!r} does not exist: use one of {', '.join(SCENARIOS)}")
    if seed < 0:
        raise InputError(f"seed is {seed}: use a whole number of at least 0")
    if not (0 < interval_s <= duration_s and duration_s / interval_s <= MAX_STEPS):
        raise InputError(
            f"duration_s is {duration_s} in steps of {interval_s} s: use seconds above 0, "
            f"and from one to {MAX_STEPS:,} steps"
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
    """Return the trace that a user has named.

    Args:
        spec: a scenario such as "lte-driving", a rate in Mbps such as "constant:20", or the path of a trace file.
        duration_s: length of the trace; a file keeps its own length.
        seed: seed of a scenario.

    Raises:
        InputError: the name is none of these, or the rate or the file cannot be used.
    """
    if spec in SCENARIOS:
        technology, mobility = spec.split("-")
        return generate(technology, mobility, duration_s, seed)
    if spec.startswith(CONSTANT):
        return _constant(spec, duration_s)
    if not os.path.exists(spec):  # Path.exists raises for text that cannot be a path, such as a very long one
        raise InputError(
            f"trace {spec!r} is neither a file, nor a rate such as '{CONSTANT}20', nor a scenario: use the path of a "
            f"trace, a rate, or one of {', '.join(SCENARIOS)}"
        )
    return read_trace(spec)


def _constant(spec: str, duration_s: float) -> Trace:
    rate = spec.removeprefix(CONSTANT)
    if len(rate) > _LONGEST_RATE or not _RATE.fullmatch(rate):
        raise InputError(f"trace {shown(spec)}: the rate is not a number: write it in Mbps, as in '{CONSTANT}20'")
    return Trace(spec, duration_s, np.array([float(rate)]))


def _state_means(
    scenario: Scenario, steps: int, interval_s: float, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw the states, and return the mean rate of the state in each step: Mbps [steps]."""
    dwells_s = np.array([state.dwell_s for state in scenario.states])
    state = int(random.choice(len(dwells_s), p=dwells_s / dwells_s.sum()))  # as at a random moment of a long trace
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
    """Draw the factor, with mean 1, between the rate and the mean of its state: [steps]."""
    keep = math.exp(-interval_s / scenario.memory_s)
    level = random.normal(0, scenario.spread)
    levels = []
    for shock in random.normal(0, scenario.spread * math.sqrt(1 - keep**2), steps).tolist():
        level = keep * level + shock
        levels.append(level)
    return np.exp(np.array(levels) - scenario.spread**2 / 2)


def _outages(scenario: Scenario, steps: int, interval_s: float, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw the outages: True in each step without a link, [steps]. The first is False, so that some rate is above 0."""
    out = np.zeros(steps, dtype=np.bool_)
    start_s = random.exponential(scenario.outage_every_s)
    while start_s < steps * interval_s:
        end_s = start_s + random.exponential(scenario.outage_s)
        out[1 + int(start_s / interval_s) : 1 + int(end_s / interval_s)] = True
        start_s = end_s + random.exponential(scenario.outage_every_s)
    return out
