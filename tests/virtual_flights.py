"""A device's surroundings in virtual time: a worker, a policy and a transport that do what a test says."""

from janus_vit.planning.outcome import Answer, Prediction
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision
from janus_vit.runtime.device import Device
from janus_vit.runtime.flights.calls import EndedCall
from janus_vit.runtime.worker import EncodedPayload
from janus_vit.simulation.clock import VirtualClock
from janus_vit.wire.messages import Reply

BLOCKS = 10
SENT = Plan("none", 0.0, (0,) * BLOCKS, 0, "jpeg90")
HERE = Plan("none", 0.0, (0,) * BLOCKS, BLOCKS + 1, LOCAL)
ANSWER = Answer((0,), (1.0,))


class Worker:
    """Takes the time that a test sets."""

    fingerprint = "model"

    def __init__(self, clock, compute_s=0.01, finish_s=0.05):
        self.clock, self.compute_s, self.finish_s = clock, compute_s, finish_s

    def prepare(self, frame):
        return frame

    def compute(self, prepared, plan):
        self.clock.advance(self.compute_s)
        return prepared

    def encode(self, state, plan):
        return EncodedPayload(b"x" * 1000, 0, 0)

    def finish(self, state, plan):
        self.clock.advance(0.0 if plan.is_local else self.finish_s)
        return ANSWER

    def finish_in_steps(self, state, plan):
        for _ in range(BLOCKS - 1):
            self.clock.advance(self.finish_s / BLOCKS)
            yield None
        self.clock.advance(self.finish_s / BLOCKS)
        yield ANSWER


class Planned:
    """A policy with one plan for each frame; keeps situations and outcomes."""

    def __init__(self, plans, **predicted):
        times = {"device_s": 0.01, "encode_s": 0.0, "transfer_s": 0.1, "queue_s": 0.0, "decode_s": 0.0}
        self.predicted = Prediction(**times | {"cloud_s": 0.0, "finish_s": 0.05, "size_bytes": 1000.0} | predicted)
        self.plans, self.asked, self.seen = list(plans), [], []

    def observe(self, outcome):
        self.seen.append(outcome)

    def choose(self, situation):
        self.asked.append(situation)
        return Decision(self.plans[min(len(self.plans) - 1, len(self.seen))], self.predicted)


class Air:
    """A transport whose replies take the times that a test gives; None: no reply comes."""

    def __init__(self, clock, replies_s):
        self.clock, self.replies_s, self.cancelled, self.timeouts_s = clock, iter(replies_s), 0, []

    def start(self, request, timeout_s):
        self.timeouts_s.append(timeout_s)
        reply_s = next(self.replies_s)
        if isinstance(reply_s, Exception):
            return EndedCall(self.clock.now(), reply_s)
        return Coming(self, None if reply_s is None else self.clock.now() + reply_s)

    def wait(self, calls, timeout_s):
        ends_s = [call.at_s for call in calls if call.at_s is not None]
        now_s = self.clock.now()
        self.clock.advance(max(0.0, min([now_s + timeout_s, *ends_s]) - now_s))


class Coming:
    """A call that ends when the clock says so."""

    def __init__(self, air, at_s):
        self.air, self.at_s = air, at_s

    @property
    def ended_s(self):
        return self.at_s if self.at_s is not None and self.air.clock.now() >= self.at_s - 1e-9 else None

    def reply(self):
        return Reply(ANSWER, 0.001, 0.0, 0.0, 0.001, 0.0)

    def cancel(self):
        self.air.cancelled += 1


def stream(policy, replies_s, frames, sla_s=0.3, in_flight=4, **worker):
    """Outcomes of frames that are submitted back to back, each with the time of its delivery."""
    clock = VirtualClock()
    air = Air(clock, replies_s)
    device = Device(Worker(clock, **worker), air, policy, sla_s, clock=clock, in_flight=in_flight)
    delivered = []
    for _ in range(frames):
        device.submit(None, None, lambda outcome: delivered.append((outcome, clock.now())))
    device.drain()
    return delivered, air
