"""What a device works on while it waits: its own answers, none of them late for want of care."""

import dataclasses

import numpy as np
import pytest
from virtual_flights import ANSWER, BLOCKS, HERE, SENT, Air, Planned, Worker, stream

from janus_vit.errors import InputError, Overloaded, TooMany, Unreachable, WireError
from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Measured, Overlap
from janus_vit.planning.policies.base import Decision
from janus_vit.planning.policies.presets import make_policy
from janus_vit.reproduction.extended import Setting
from janus_vit.runtime.device import Device
from janus_vit.runtime.flights.flight import Flight, next_begun
from janus_vit.runtime.flights.rescues import Wait
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.link import RecordedLink
from janus_vit.simulation.simulate import simulate


class Uneven(Worker):
    """A worker whose first blocks have the most tokens: the times of its steps fall to a third."""

    def finish_in_steps(self, state, plan):
        weights = np.linspace(3, 1, BLOCKS)
        for weight in weights[:-1]:
            self.clock.advance(self.finish_s * weight / weights.sum())
            yield None
        self.clock.advance(self.finish_s * weights[-1] / weights.sum())
        yield ANSWER


class Sure(Planned):
    """A policy that tells how likely a frame is in time, as ours do."""

    def __init__(self, plans, on_time=0.95, by_cloud=0.9, plan_s=0.0, clock=None, **predicted):
        super().__init__(plans, on_time=on_time, **predicted)
        self.by_cloud, self.plan_s, self.clock = by_cloud, plan_s, clock

    def choose(self, situation):
        if self.clock is not None:
            self.clock.advance(self.plan_s)
        return dataclasses.replace(super().choose(situation), by_cloud=self.by_cloud)


def answer_alone(worker, clock, policy, in_flight=1, frames=1):
    """Outcomes over a link that delivers nothing, of a camera of ten frames in three seconds."""
    delivered = []
    device = Device(worker, Air(clock, [None] * frames), policy, 0.3, clock=clock, in_flight=in_flight)
    for number in range(frames):
        device.attend(0.3 * number)
        clock.advance(max(0.0, 0.3 * number - clock.now()))
        device.submit(None, 0.3 * number, delivered.append)
    device.drain()
    return delivered


def test_blocks_of_unequal_times_are_in_time_as_equal_ones_are():
    clock = VirtualClock()
    policy = Planned([SENT], finish_s=0.277, spread=0.02)
    (outcome,) = answer_alone(Uneven(clock, finish_s=0.277), clock, policy)
    assert outcome.met


def test_a_device_plans_no_other_frame_while_it_works_on_one_that_may_be_in_time():
    clock = VirtualClock()
    policy = Sure([SENT], plan_s=0.002, clock=clock, device_s=0.03, finish_s=0.26, spread=0.02)
    outcomes = answer_alone(Worker(clock, finish_s=0.26), clock, policy, in_flight=4, frames=10)
    assert [outcome.measured.total_s for outcome in outcomes if not outcome.met] == []


@pytest.mark.parametrize("in_flight", [2, 4])
def test_over_a_dead_link_a_policy_without_probabilities_has_no_frame_delayed_by_the_own_answer_to_another(in_flight):
    delivered, _ = stream(Planned([SENT], finish_s=0.25), [None] * 12, frames=12, in_flight=in_flight, finish_s=0.25)
    late = [outcome.frame for outcome, _ in delivered if not outcome.met]
    assert late == [1]  # it was sent before the first reply was overdue


def test_frames_whose_replies_are_almost_certain_overlap_although_the_device_could_answer_each_in_time():
    policy = Sure([SENT], finish_s=0.27, spread=0.02, by_cloud=0.995)
    delivered, _ = stream(policy, [0.1] * 12, frames=12, in_flight=4, finish_s=0.27)
    assert all(outcome.met and outcome.fallback is None for outcome, _ in delivered)
    assert delivered[-1][1] < 0.6 * 12 * 0.11
    doubtful = Sure([SENT], finish_s=0.27, spread=0.02, by_cloud=0.9)
    alone, _ = stream(doubtful, [0.1] * 12, frames=12, in_flight=4, finish_s=0.27)
    assert alone[-1][1] > 12 * 0.1


def test_four_frames_in_flight_answer_almost_twice_as_many_frames_over_a_long_round_trip():
    link = Trace("constant", 1.0, [50.0] * 100)
    platforms = dataclasses.replace(Setting().platforms(link), rtt_s=0.1)
    counts = []
    for in_flight in (1, 4):
        policy = make_policy("adaptive", platforms)
        outcomes = list(simulate(policy, platforms, link, 0.3, 10.0, in_flight=in_flight))
        assert all(outcome.met for outcome in outcomes)
        counts.append(len(outcomes))
    assert counts[1] >= 1.8 * counts[0]


def test_over_a_good_link_a_policy_without_probabilities_has_several_frames_in_the_air():
    delivered, _ = stream(Planned([SENT], finish_s=0.25), [0.1] * 12, frames=12, in_flight=4, finish_s=0.25)
    assert delivered[-1][1] < 0.6 * 12 * 0.11


def test_a_frame_that_fails_does_not_delay_an_earlier_one():
    class Refusing(Air):
        def start(self, request, timeout_s):
            call = super().start(request, timeout_s)
            if call.at_s is not None:
                call.reply = refuse
            return call

    def refuse():
        raise Overloaded("full")

    clock, delivered = VirtualClock(), []
    policy = Sure([SENT], finish_s=0.1, transfer_s=0.05, spread=0.01)
    air = Refusing(clock, [None, 0.054])  # the second one fails at 0.194, and the first has to begin at 0.196
    device = Device(Worker(clock, finish_s=0.1), air, policy, 0.3, clock=clock, in_flight=2)
    device.submit(None, 0.0, delivered.append)
    device.attend(0.13)
    device.submit(None, 0.13, delivered.append)
    device.drain()
    assert [outcome.met for outcome in delivered] == [True, True]


def test_an_own_answer_leaves_time_for_every_frame_that_time_is_kept_for():
    held = Wait(0.32, 0.25, 0.32, 0.07, is_kept=True)
    first = in_the_air(Wait(0.1, 0.2, 0.3, 0.05, is_kept=True))
    hopeless = in_the_air(Wait(0.4, 0.05, 0.31, 0.4, is_kept=False))
    third = in_the_air(Wait(0.12, 0.25, 0.32, 0.05, is_kept=True))
    assert next_begun([first], held, 0.2) == (first, 0.25)
    assert next_begun([first, hopeless, third], None, 0.2) == (first, 0.25)


def in_the_air(wait):
    predicted = dataclasses.replace(Planned([SENT]).predicted, finish_s=0.05)
    flight = Flight(0, 0.0, wait.deadline_s, Decision(SENT, predicted), None, Measured(), print, Overlap(), ())
    flight.wait = wait
    return flight


def test_a_reply_that_has_come_is_known_when_the_next_frame_is_planned():
    clock, policy, delivered = VirtualClock(), Sure([SENT], transfer_s=0.05, rate_mbps=0.2), []
    device = Device(Worker(clock), Air(clock, [0.05, 0.05]), policy, 0.3, clock=clock, in_flight=2)
    device.submit(None, 0.0, delivered.append)
    clock.advance(0.25)
    asked = len(policy.asked)
    device.submit(None, clock.now(), delivered.append)
    device.drain()
    assert policy.asked[asked].device_busy_s == 0
    assert [outcome.measured.discarded_s for outcome in delivered] == [0.0, 0.0]


def test_a_camera_whose_frames_are_all_old_is_not_skipped_for_ever():
    class Late(Planned):
        def choose(self, situation):
            return Decision(HERE, dataclasses.replace(self.predicted, on_time=float(situation.time_left_s >= 0.27)))

    clock = VirtualClock()
    device = Device(Worker(clock, compute_s=0.27), Air(clock, []), Late([HERE]), 0.3, clock=clock)
    skipped = []
    for _ in range(10):
        clock.advance(0.3)
        skipped.append(device.skip_if_hopeless(clock.now() - 0.1))
    assert skipped == [True, False] * 5


def test_a_call_that_cannot_be_started_is_a_fallback():
    class Broken(Air):
        def start(self, request, timeout_s):
            raise Unreachable("no socket")

    clock, delivered = VirtualClock(), []
    device = Device(Worker(clock), Broken(clock, []), Planned([SENT]), 0.3, clock=clock)
    device.submit(None, 0.0, delivered.append)
    device.drain()
    assert [outcome.fallback for outcome in delivered] == ["Unreachable: no socket"]


def test_a_frame_that_no_format_can_carry_is_a_fallback_in_its_times_too():
    class Unencodable(Worker):
        def encode(self, state, plan):
            raise WireError("a value is too large")

    clock = VirtualClock()
    outcome = Device(Unencodable(clock), Air(clock, []), Planned([SENT]), 0.3, clock=clock).infer(None)
    assert outcome.fallback == "WireError: a value is too large"
    assert (outcome.measured.device_s, outcome.measured.fallback_s) == pytest.approx((0.01, 0.05))


def test_a_refusal_of_too_many_frames_says_nothing_about_the_link():
    delivered, _ = stream(Planned([SENT]), [TooMany("four wait already"), 0.1], frames=2)
    assert [len(outcome.transfers) for outcome, _ in delivered] == [0, 1]


def test_a_policy_that_raises_loses_no_answer():
    class Raising(Planned):
        def observe(self, outcome):
            raise RuntimeError("a mistake in a policy")

    clock, delivered = VirtualClock(), []
    device = Device(Worker(clock), Air(clock, [0.1]), Raising([SENT]), 0.3, clock=clock)
    with pytest.raises(RuntimeError):
        device.submit(None, 0.0, delivered.append)
    assert delivered[0].answer == ANSWER


def test_steps_that_end_without_an_answer_are_refused():
    class Endless(Worker):
        def finish_in_steps(self, state, plan):
            yield None

    clock = VirtualClock()
    with pytest.raises(InputError, match="steps ended without an answer: yield it after the last one"):
        Device(Endless(clock), Air(clock, [None]), Planned([SENT]), 0.3, clock=clock).infer(None)


def test_a_simulated_call_that_is_cancelled_takes_no_other_payload_off_the_link():
    link = RecordedLink(Trace("constant", 1.0, [1.0] * 100), rtt_s=0.0)
    first_s, second_s = link.send(0.0, 1_000_000), link.send(0.0, 1_000_000)
    link.abandon(9.0, first_s)
    assert link.free_s == second_s == 16.0
    link.abandon(9.0, second_s)
    assert link.free_s < 16.0
