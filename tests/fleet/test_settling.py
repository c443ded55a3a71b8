"""A step in load: how settling is judged, and that a fleet settles."""

import numpy as np
import pytest

from janus_vit.fleet.contenders import contender
from janus_vit.fleet.file import mixed_fleet
from janus_vit.fleet.settling import Settling, sent_shares, settling
from janus_vit.fleet.simulate import simulate_fleet
from janus_vit.fleet.spec import members, with_absence

FLAT = [0.5] * 12
BEFORE_S = 4.0  # with all devices
PHASE_S = 8.0  # with half of them, and with all again; the last third of each is its final state


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        ([], Settling(0.0, 0)),
        ([0.9, 0.8], Settling(1.0, 0)),
        ([0.55, 0.45], Settling(0.0, 0)),
        ([0.9, 0.1], Settling(1.0, 1)),
        ([0.9, 0.5, 0.1, 0.9], Settling(2.0, 2)),
        ([0.1, 0.1, 0.9, 0.9, 0.1, 0.5, 0.9], Settling(3.5, 3)),
    ],
)
def test_a_series_is_judged_by_when_it_stays_and_how_often_it_passes(beginning, expected):
    assert settling(beginning + FLAT) == expected


@pytest.mark.parametrize(("devices", "seeds", "phases"), [(48, (7, 8), 1), (120, (7,), 2)])
def test_half_of_a_fleet_leaves_and_returns_and_it_settles_within_five_seconds(devices, seeds, phases):
    """The smaller fleet only leaves here; `benchmarks/fleet_step.py` shows how others return."""
    runs = [_run(devices, seed, phases) for seed in seeds]  # chance moves the share of a few by the width of the band
    for step_s in (BEFORE_S, BEFORE_S + PHASE_S)[:phases]:
        found = settling(np.mean([sent_shares(frames, step_s, step_s + PHASE_S) for frames in runs], axis=0))
        assert found.seconds <= 5.0
        assert found.swings <= 2


def _run(devices, seed, phases):
    fleet = mixed_fleet()
    end_s = BEFORE_S + phases * PHASE_S
    drawn = with_absence(members(fleet, devices, end_s, seed), BEFORE_S, BEFORE_S + PHASE_S)
    return simulate_fleet(fleet, drawn, contender("adaptive-fleet")).frames
