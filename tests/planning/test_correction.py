"""The profile is corrected from the stream's own frames."""

import pytest

from janus_vit.planning.policies.correction import Side


def test_a_device_slowed_to_half_is_predicted_again_within_20_frames():
    side = Side()
    for _ in range(20):
        side.observe(measured_s=0.2, predicted_s=0.1 * side.factor, sla_s=0.3)
    assert 0.1 * side.factor == pytest.approx(0.2, rel=0.1)


def test_one_odd_frame_is_not_a_trend():
    side = Side()
    side.observe(measured_s=100.0, predicted_s=0.1, sla_s=0.3)
    assert side.factor < 1.3


def test_what_is_short_beside_the_sla_says_nothing():
    side = Side()
    for measured_s in (0.001, 0.009, 0.02):
        side.observe(measured_s, predicted_s=0.004, sla_s=0.3)
    assert side == Side()


def test_a_slow_side_that_is_not_seen_is_tried_again_some_day():
    side = Side()
    for _ in range(20):
        side.observe(measured_s=0.4, predicted_s=0.1 * side.factor, sla_s=0.3)
    slow = side.factor
    for _ in range(150):
        side.forget()
    assert side.factor < 1.1 < slow
