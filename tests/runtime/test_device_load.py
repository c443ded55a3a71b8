"""What the policy hears of the cloud's load: through replies, refusals and probes."""

from concurrent.futures import Future

import pytest

from janus_vit.errors import Overloaded
from janus_vit.planning.outcome import Answer, Prediction, Transfer
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision
from janus_vit.planning.price import CloudLoad, EnginePrice
from janus_vit.runtime.device import Device
from janus_vit.runtime.known_load import price_factor
from janus_vit.runtime.transport import Probed
from janus_vit.runtime.worker import EncodedPayload
from janus_vit.simulation.clock import VirtualClock
from janus_vit.wire.messages import Reply

PRICE = EnginePrice(1e-3, 1e-3, 1e-4, 1e-5, answers_per_s=8.0)
LOAD = CloudLoad(0.25, PRICE)
ANSWER = Answer((0,), (1.0,))
NAME = "camera"
SENT = Plan("none", 0.0, (0, 0), 0, "jpeg90")
HERE = Plan("none", 0.0, (0, 0), 3, LOCAL)


class Worker:
    """Computes for a tenth of a second."""

    fingerprint = "model"

    def __init__(self, clock):
        self.clock = clock

    def prepare(self, frame):
        return frame

    def compute(self, prepared, plan):
        self.clock.advance(0.1)

    def encode(self, state, plan):
        return EncodedPayload(b"body", 0, 0)

    def finish(self, state, plan):
        return ANSWER

    def finish_in_steps(self, state, plan):
        yield ANSWER


class Policy:
    """Runs one plan and keeps the situations in which it was asked."""

    def __init__(self, plan, probe_bytes=0, **predicted):
        times = {"device_s": 0.1, "encode_s": 0.0, "transfer_s": 0.05, "queue_s": 0.0, "decode_s": 0.0}
        times |= {"cloud_s": 0.01, "finish_s": 0.01, "size_bytes": 1000.0, **predicted}
        self.decision = Decision(plan, Prediction(**times), probe_bytes)
        self.asked = []

    def observe(self, outcome):
        pass

    def choose(self, situation):
        self.asked.append(situation)
        return self.decision


class Transport:
    """Answers with a load, or refuses; a probe takes a while."""

    def __init__(self, clock, load=LOAD, error=None, probe_s=0.05):
        self.clock, self.load, self.error, self.probe_s = clock, load, error, probe_s
        self.requests = []

    def infer(self, request, timeout_s):
        self.requests.append((request, timeout_s))
        if self.error is not None:
            raise self.error
        return Reply(ANSWER, 0.0, 0.0, 0.0, 0.0, self.load.expected_wait_s, self.load.price)

    def probe(self, size_bytes, timeout_s):
        return Arriving(
            self.clock, Probed(Transfer(self.clock.now() + self.probe_s, size_bytes, 0.01, 0.01), self.load)
        )


class Arriving(Future):
    """A probe that is done when the clock says so."""

    def __init__(self, clock, probed):
        super().__init__()
        self.clock, self.at_s = clock, probed.transfer.at_s
        self.set_result(probed)

    def done(self):
        return self.clock.now() >= self.at_s


def run(policy, frames=2, pause_s=0.0, **options):
    """Run frames one after the other; the device's transport."""
    clock = VirtualClock()
    transport = Transport(clock, **options)
    device = Device(Worker(clock), transport, policy, 0.5, name=NAME, clock=clock)
    for _ in range(frames):
        device.infer(None)
        clock.advance(pause_s)
    return transport


def told(situation):
    return situation.price.answers_per_s


def test_before_the_first_report_the_cloud_is_free():
    policy = Policy(HERE)
    run(policy, frames=1)
    assert policy.asked[0].price == EnginePrice()
    assert policy.asked[0].cloud_queue_s == 0.0


def test_a_reply_tells_wait_and_price():
    policy = Policy(SENT)
    run(policy)
    assert policy.asked[1].cloud_queue_s == pytest.approx(0.25)
    assert told(policy.asked[1]) == 8.0 * price_factor(NAME)
    assert policy.asked[1].price.token_s == PRICE.token_s


def test_a_refusal_tells_wait_and_price():
    policy = Policy(SENT)
    run(policy, error=Overloaded("full", 0.5, PRICE))
    assert policy.asked[1].cloud_queue_s == pytest.approx(0.5)
    assert told(policy.asked[1]) == 8.0 * price_factor(NAME)


def test_a_refusal_of_an_older_cloud_tells_the_wait_alone():
    policy = Policy(SENT)
    run(policy, error=Overloaded("full", 0.5))
    assert policy.asked[1].cloud_queue_s == pytest.approx(0.5)
    assert told(policy.asked[1]) == 0.0


@pytest.mark.parametrize(("probe_s", "pause_s"), [(0.05, 0.0), (0.15, 0.1)])
def test_a_device_whose_frames_stay_local_hears_of_it_before_it_decides_again(probe_s, pause_s):
    policy = Policy(HERE, probe_bytes=1000)
    run(policy, probe_s=probe_s, pause_s=pause_s)
    assert told(policy.asked[1]) == 8.0 * price_factor(NAME)
    passed_s = 0.1 + pause_s - probe_s
    assert policy.asked[1].cloud_queue_s == pytest.approx(0.25 - passed_s)


def test_a_probe_of_an_older_cloud_tells_nothing():
    policy = Policy(HERE, probe_bytes=1000)
    run(policy, frames=3, load=None)
    assert [each.price for each in policy.asked] == [EnginePrice()] * 3
    assert policy.asked[2].cloud_queue_s == 0.0


def test_without_a_known_rate_the_round_trip_is_part_of_what_the_cloud_is_told():
    known = run(Policy(SENT, rate_mbps=0.4), frames=1).requests[0]
    unknown = run(Policy(SENT, rate_mbps=None), frames=1).requests[0]
    assert known[1] == unknown[1]
    assert unknown[0].time_left_s == unknown[1]
    assert known[0].time_left_s == pytest.approx(known[1] - 0.03)  # 50 ms less the 20 ms that 1000 bytes take


def test_a_request_always_leaves_some_time():
    request, _ = run(Policy(SENT, transfer_s=30.0, rate_mbps=0.4), frames=1).requests[0]
    assert request.time_left_s == 1e-3
