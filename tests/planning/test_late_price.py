"""The price of a late frame: adapted until the share of late frames is the accepted one."""

import random
from dataclasses import replace

import numpy as np
import pytest

from janus_vit.errors import InputError
from janus_vit.planning.link import RateForecast
from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction, Transfer
from janus_vit.planning.plan import Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.late_price import LatePrice
from janus_vit.planning.policies.presets import make_policy
from janus_vit.reproduction.published import SHAPES, assumed_accuracy, published_profile

SHAPE = "vit-large-384"
SENT = Plan("none", 0.0, (0,) * 24, 0, "jpeg90")
PREDICTED = Prediction(0.0, 0.0, 0.05, 0.0, 0.0, 0.03, 0.6, 50_000.0)
ANSWERED = Outcome(0, 0.0, 0.3, SENT, PREDICTED, Measured(total_s=0.1), 50_000, Answer((0,), (1.0,)), None, ())


def test_without_a_target_late_frames_have_no_price():
    price = LatePrice()
    for _ in range(100):
        price.observe(True)
    assert price.answers == 0.0
    assert price.confidence == 0.95


def test_the_price_settles_where_the_share_of_late_frames_is_the_target():
    # Whatever the forecast claims: here frames are late with a probability that falls with the price.
    chance, price, late = random.Random(1), LatePrice(0.05), []
    for _ in range(20_000):
        late.append(chance.random() < 0.5 * 10**-price.answers)
        price.observe(late[-1])
    assert np.mean(late[2_000:]) == pytest.approx(0.05, abs=0.005)


def test_the_price_stays_in_bounds_if_no_plan_keeps_the_target_or_every_plan_does():
    hopeless, easy = LatePrice(0.01), LatePrice(0.01, least=-0.5)
    for _ in range(1_000):
        hopeless.observe(True)
        easy.observe(False)
    assert 5 < hopeless.answers <= 10
    assert easy.answers == -0.5


def test_without_measured_accuracy_the_target_sets_the_required_probability():
    price = LatePrice(0.01)
    assert price.confidence == pytest.approx(0.99)
    price.observe(True)
    assert 0.99 < price.confidence < 1


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_outside_of_0_and_1_is_refused(share):
    with pytest.raises(InputError, match="accepted share of late frames"):
        LatePrice(share)


def test_a_policy_that_does_not_weigh_late_frames_is_refused_by_name():
    with pytest.raises(InputError, match="policy janus cannot keep to a share of late frames"):
        make_policy("janus", platforms(), 0.01)


def platforms() -> Platforms:
    device, cloud = published_profile("orin-nano", SHAPE), published_profile("v100", SHAPE)
    return Platforms(SHAPES[SHAPE], device, cloud, 20.0, 0.03, assumed_accuracy(SHAPE))


def in_time(late_target: float, late_frames: int, send_s: float, sla_s: float = 0.3) -> float:
    """Probability of being in time that a policy chooses after 60 frames, some of them late, on an unsteady link."""
    policy = make_policy("adaptive", platforms(), late_target)
    for frame, factor in enumerate(np.random.default_rng(1).lognormal(0.0, 0.4, 60)):
        measured = Measured(total_s=0.5 if frame < late_frames else 0.1)
        sent = Transfer(0.3 * frame, 50_000, send_s * factor, 0.03)
        policy.observe(replace(ANSWERED, at_s=0.3 * frame, measured=measured, transfers=(sent,)))
    return policy.choose(Situation(18.0, sla_s)).predicted.on_time


def test_a_policy_takes_more_risk_if_the_user_accepts_more():
    assert in_time(0.2, 0, send_s=0.005) < in_time(0.002, 0, send_s=0.005)


def test_a_policy_takes_less_risk_after_late_frames():
    assert in_time(0.002, 0, send_s=0.05, sla_s=0.2) < in_time(0.002, 5, send_s=0.05, sla_s=0.2)


def test_devices_with_the_same_plans_have_prices_of_their_own():
    first = make_policy("adaptive", platforms(), 0.01)
    other = first.twin(RateForecast(20.0), 0.03)
    other.observe(replace(ANSWERED, measured=Measured(total_s=0.5)))
    assert (first._late.answers, other._late.answers) == (0.0, 0.99)
