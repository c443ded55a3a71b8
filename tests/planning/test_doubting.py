"""A device tries its cloud now and then, although the cloud reports a load that keeps all frames away."""

import dataclasses

import pytest

from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision, Situation
from janus_vit.planning.policies.doubting import DoubtingPolicy
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
