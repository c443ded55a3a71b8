"""The profile is corrected from the stream's own frames."""

import pytest

from janus_vit.planning.policies.correction import MachineCorrection


def test_prediction_follows_a_device_at_half_speed_within_20_frames():
    side = MachineCorrection()
    for _ in range(20):
        side.observe(measured_s=0.2, predicted_s=0.1 * side.factor, sla_s=0.3)
    assert 0.1 * side.factor == pytest.approx(0.2, rel=0.1)


def test_one_outlier_is_not_a_trend():
    side = MachineCorrection()
    side.observe(measured_s=100.0, predicted_s=0.1, sla_s=0.3)
    assert side.factor < 1.3


def test_compute_that_is_short_compared_with_the_sla_is_ignored():
    side = MachineCorrection()
    for measured_s in (0.001, 0.009, 0.02):
        side.observe(measured_s, predicted_s=0.004, sla_s=0.3)
    assert side == MachineCorrection()


def test_slow_side_without_measurements_is_retried_later():
    side = MachineCorrection()
    for _ in range(20):
        side.observe(measured_s=0.4, predicted_s=0.1 * side.factor, sla_s=0.3)
    slow = side.factor
    for _ in range(150):
        side.forget()
    assert side.factor < 1.1 < slow
