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


@pytest.mark.parametrize(("devices", "seeds"), [(48, (7, 8)), (120, (7,))])
def test_half_of_a_fleet_leaves_and_returns_and_it_settles_within_five_seconds(devices, seeds):
    runs = [_run(devices, seed) for seed in seeds]  # chance moves the share of a few devices by the width of the band
    for step_s in (BEFORE_S, BEFORE_S + PHASE_S):
        found = settling(np.mean([sent_shares(frames, step_s, step_s + PHASE_S) for frames in runs], axis=0))
        assert found.seconds <= 5.0
        assert found.swings <= 2


def _run(devices, seed):
    fleet = mixed_fleet()
    returns_s = BEFORE_S + PHASE_S
    drawn = with_absence(members(fleet, devices, returns_s + PHASE_S, seed), BEFORE_S, returns_s)
    return simulate_fleet(fleet, drawn, contender("adaptive-fleet")).frames
