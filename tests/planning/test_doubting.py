"""A device tries its cloud now and then, although the cloud reports a load that keeps all frames away."""

import dataclasses

import pytest

from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction, Transfer
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision, Situation
from janus_vit.planning.policies.doubting import DoubtingPolicy
from janus_vit.planning.policies.presets import make_policy
from janus_vit.planning.price import EnginePrice

SENT = Plan("none", 0.0, (0, 0), 0, "jpeg90")
HERE = Plan("none", 0.0, (0, 0), 3, LOCAL)
FREE, PRICE = EnginePrice(), EnginePrice(answers_per_s=8.0)
TIMES = {"device_s": 0.01, "encode_s": 0.0, "transfer_s": 0.05, "queue_s": 0.0, "decode_s": 0.0, "cloud_s": 0.01}
SLA_S = 0.3


class Shy:
    """Sends frames only to a cloud that reports no load."""

    finish_s = 0.1

    def observe(self, outcome):
        pass

    def choose(self, situation):
        plan = HERE if situation.cloud_queue_s or situation.price.answers_per_s else SENT
        return Decision(plan, Prediction(**TIMES, finish_s=self.finish_s, size_bytes=1000.0))


class Cloud:
    """Reports a load, and remembers when frames were sent."""

    def __init__(self, wait_s=0.0, price=FREE, policy=None):
        self.times_s = [0.0]
        self.policy = DoubtingPolicy(policy or Shy(), lambda: self.times_s[-1])
        self.wait_s, self.price = wait_s, price

    def run(self, seconds, now_s=0.0):
        """Ten frames a second; when frames were sent."""
        for frame in range(round(10 * seconds)):
            at_s = now_s + frame / 10
            decision = self.policy.choose(Situation(at_s, SLA_S, self.wait_s, price=self.price))
            if not decision.plan.is_local:
                self.times_s.append(at_s)
            measured = Measured(total_s=0.1)
            self.policy.observe(
                Outcome(frame, at_s, SLA_S, decision.plan, decision.predicted, measured, 0, Answer((), ()), None, ())
            )
        return self.times_s[1:]


def test_a_wait_that_keeps_all_frames_away_is_tried_after_five_seconds_and_then_half_as_often_each_time():
    assert Cloud(wait_s=9.0).run(200) == pytest.approx([5.0, 10.0, 20.0, 40.0, 80.0, 160.0])


def test_a_price_is_respected_twelve_times_as_long():
    assert Cloud(price=PRICE).run(300) == pytest.approx([60.0, 120.0, 240.0])


def test_after_frames_that_the_policy_sends_by_itself_the_pauses_are_short_again():
    cloud = Cloud(wait_s=9.0)
    cloud.run(100)
    cloud.wait_s = 0.0
    cloud.run(1, now_s=100.0)
    cloud.wait_s = 9.0
    last_s = cloud.times_s[-1]
    assert cloud.run(6, now_s=101.0)[-1] == pytest.approx(last_s + 5.0, abs=0.11)


def test_without_a_report_the_policy_decides():
    assert len(Cloud().run(10)) == 100


def test_no_frame_is_tried_that_could_not_be_finished_here_in_time():
    slow = Shy()
    slow.finish_s = 0.28
    assert Cloud(wait_s=9.0, policy=slow).run(100) == []


def test_choosing_changes_nothing():
    cloud = Cloud(wait_s=9.0)
    situation = Situation(5.0, SLA_S, cloud_queue_s=9.0)
    assert cloud.policy.choose(situation) == cloud.policy.choose(situation)
    assert cloud.policy.choose(dataclasses.replace(situation, now_s=4.9)).plan.is_local


class ShyOfTheProfile(Shy):
    """Sends frames only to a cloud that it takes to be fast."""

    def __init__(self, on_time=None):
        self.on_time = on_time

    def choose(self, situation):
        plan = SENT if situation.doubts_profile else HERE
        return Decision(plan, Prediction(**TIMES, finish_s=self.finish_s, size_bytes=1000.0, on_time=self.on_time))


def test_a_profile_that_keeps_all_frames_away_is_tried_like_a_wait():
    assert Cloud(policy=ShyOfTheProfile()).run(200) == pytest.approx([5.0, 10.0, 20.0, 40.0, 80.0, 160.0])


def test_a_frame_that_would_be_late_anyway_may_be_tried_although_it_could_not_be_finished_here_in_time():
    late, in_time = ShyOfTheProfile(on_time=0.0), ShyOfTheProfile(on_time=0.9)
    late.finish_s = in_time.finish_s = 0.28
    assert len(Cloud(policy=late).run(30)) == 3
    assert Cloud(policy=in_time).run(30) == []


@pytest.mark.parametrize("name", ["adaptive", "adaptive-fleet"])
@pytest.mark.parametrize("claimed", [10.0, 100.0, 1e4])
def test_a_cloud_whose_profile_is_slower_than_it_is_gets_frames_after_two_trials(
    platforms, make_profile, name, claimed
):
    """The device alone is always late; the cloud needs 20 ms, and says that it needs up to 200 s."""
    platforms = dataclasses.replace(platforms, device=make_profile(2e-3), cloud=make_profile(5e-5).slowed(claimed))
    sent_s, sla_s = [0.0], 0.3
    policy = DoubtingPolicy(make_policy(name, platforms), lambda: sent_s[-1])
    for frame in range(300):
        at_s = frame / 10
        decision = policy.choose(Situation(at_s, sla_s))
        predicted, local = decision.predicted, decision.plan.is_local
        measured = Measured(
            device_s=predicted.device_s,
            encode_s=predicted.encode_s,
            cloud_s=predicted.cloud_s / policy._policy._correction.cloud.factor / claimed,
            total_s=predicted.device_s if local else 0.1,
        )
        if not local:
            sent_s.append(at_s)
        transfers = () if local else (Transfer(at_s, 1000, 0.001, 0.02),)
        policy.observe(
            Outcome(frame, at_s, sla_s, decision.plan, predicted, measured, 0, Answer((), ()), None, transfers)
        )
    assert sent_s[1] <= 5.1
    assert len([each for each in sent_s if each > 11.0]) > 180, "from then on every frame is sent"
