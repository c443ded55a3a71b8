"""Whether the cloud will take a request, learned from those that it took and refused."""

from dataclasses import replace

import pytest

from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction, Transfer
from janus_vit.planning.plan import Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.correction import Acceptance
from janus_vit.planning.policies.presets import make_policy
from janus_vit.reproduction.published import SHAPES, assumed_accuracy, published_profile

SENT, LOCAL = Plan("none", 0.0, (0,) * 24, 0, "jpeg90"), Plan("none", 0.0, (0,) * 24, 25, "local")
PREDICTED = Prediction(0.0, 0.0, 0.05, 0.0, 0.0, 0.03, 0.6, 50_000.0)


def outcome(at_s, *, plan=SENT, fallback=None, refused=False):
    measured = Measured(cloud_s=0.03, total_s=0.1)
    return Outcome(0, at_s, 0.3, plan, PREDICTED, measured, 50_000, Answer((0,), (1.0,)), fallback, (), refused)


def refusal(at_s):
    return outcome(at_s, fallback="Overloaded: full", refused=True)


def wrong_reply(at_s):
    return outcome(at_s, fallback="WireError: field classes does not match the model")


def test_nothing_is_doubted_before_a_refusal():
    acceptance = Acceptance()
    for frame in (outcome(0.0), outcome(0.3, plan=LOCAL), outcome(0.6, fallback="DeadlineExceeded: lost")):
        acceptance.observe(frame)
        assert acceptance.probability(0.7) == 1.0


def test_refusals_lower_the_probability_and_answers_raise_it_again():
    acceptance = Acceptance()
    seen = []
    for turn in range(3):
        acceptance.observe(refusal(turn * 0.3))
        seen.append(acceptance.probability(turn * 0.3 + 0.1))
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == pytest.approx(0.5)
    acceptance.observe(outcome(0.9))
    assert acceptance.probability(1.0) > seen[-1]


def test_a_refusal_is_forgotten():
    acceptance = Acceptance()
    acceptance.observe(refusal(0.0))
    seen = [acceptance.probability(now_s) for now_s in (0.1, 1.1, 5.1, 20.0)]
    assert seen == sorted(seen)
    assert seen[-1] > 0.999


@pytest.mark.parametrize("useless", [refusal, wrong_reply])
@pytest.mark.parametrize("policy", ["adaptive", "adaptive-fleet"])
def test_a_device_that_can_help_itself_leaves_a_cloud_that_refuses_or_is_wrong_and_tries_it_again(policy, useless):
    shape = "vit-large-384"
    quick = published_profile("orin-nano", shape).slowed(0.4)
    platforms = Platforms(SHAPES[shape], quick, published_profile("v100", shape), 50.0, 0.01, assumed_accuracy(shape))
    chooser = make_policy(policy, platforms)
    transfer = {"transfers": (Transfer(0.0, 50_000, 0.008, 0.01),)}
    for frame in range(60):
        chooser.observe(replace(outcome(0.3 * frame), **transfer))
    before = chooser.choose(Situation(20.0, 0.3)).predicted.cloud_s
    chooser.observe(replace(useless(20.0), **transfer))
    assert chooser.choose(Situation(20.2, 0.3)).predicted.cloud_s < before / 2
    assert chooser.choose(Situation(40.0, 0.3)).predicted.cloud_s == pytest.approx(before)
