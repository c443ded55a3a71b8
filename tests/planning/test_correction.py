"""The profile is corrected from the stream's own frames."""

import pytest

from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.correction import Correction, MachineCorrection

SENT = Plan("none", 0.0, (0, 0), 0, "jpeg90")


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


@pytest.mark.parametrize("claimed", [1e-3, 1e4])
def test_a_profile_that_is_wrong_by_orders_of_magnitude_is_corrected_by_two_frames(claimed):
    side = MachineCorrection()
    told = [side.observe(measured_s=0.2, predicted_s=0.2 * claimed * side.factor, sla_s=0.3) for _ in range(2)]
    assert told == [False, True]
    assert 0.2 * claimed * side.factor == pytest.approx(0.2, rel=0.3)


@pytest.mark.parametrize("between_s", [0.2, 0.001])
def test_two_outliers_that_do_not_follow_each_other_are_no_trend_either(between_s):
    side = MachineCorrection()
    for measured_s in (100.0, between_s, 100.0):
        side.observe(measured_s, predicted_s=between_s, sla_s=0.3)
    assert side.factor < 1.6


def test_frames_that_were_planned_with_a_wrong_profile_are_not_counted_after_its_correction():
    correction = Correction()
    for at_s in (0.0, 0.1, 0.2, 0.3):  # all in flight before the first one ends
        predicted = Prediction(0.01, 0.0, 0.05, 0.0, 0.0, cloud_s=1e-4, finish_s=0.1, size_bytes=1000.0)
        measured = Measured(device_s=0.01, cloud_s=0.1, total_s=0.5)
        correction.observe(Outcome(0, at_s, 0.3, SENT, predicted, measured, 1000, Answer((0,), (1.0,)), None, ()))
    assert 1e-4 * correction.cloud.factor == pytest.approx(0.1, rel=0.3)
