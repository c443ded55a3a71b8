"""Several frames in flight: answers in order, none lost, none late because of a later one, and the planner knows."""

import dataclasses
import math
from itertools import islice, pairwise
from types import SimpleNamespace

import pytest
from patience import PATIENCE_S
from virtual_flights import ANSWER, HERE, SENT, Air, Planned, Worker, stream

from janus_vit.cloud.server import Cloud
from janus_vit.errors import InputError, OtherModel, TooMany, Unreachable
from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Measured, Overlap
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Decision, Situation
from janus_vit.planning.policies.presets import make_policy
from janus_vit.records.reader import read_records
from janus_vit.records.writer import RecordWriter
from janus_vit.runtime.connect import connect
from janus_vit.runtime.device import Device
from janus_vit.runtime.flights.flight import Flight, next_begun, next_moment_s
from janus_vit.runtime.flights.limit import FlightLimit
from janus_vit.runtime.flights.rescues import Wait
from janus_vit.runtime.pacing import attended
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.simulate import simulate
from janus_vit.wire.fields import LONGEST_WAIT_S


def test_frames_are_computed_while_others_are_in_the_air():
    delivered, _ = stream(Planned([SENT], finish_s=0.03), [0.1] * 8, frames=8)
    outcomes = [outcome for outcome, _ in delivered]
    assert [outcome.at_s for outcome in outcomes[:4]] == pytest.approx([0.0, 0.01, 0.02, 0.03])
    assert [outcome.overlap.others for outcome in outcomes[:5]] == [0, 1, 2, 3, 3]
    assert outcomes[0].overlap.compute_s == pytest.approx(0.03)
    assert delivered[-1][1] == pytest.approx(0.25)  # one after the other: 0.88 s
    assert all(outcome.met and outcome.fallback is None for outcome in outcomes)


def test_never_more_frames_than_allowed_are_in_flight():
    delivered, _ = stream(Planned([SENT]), [0.1] * 6, frames=6, in_flight=2)
    assert max(outcome.overlap.others for outcome, _ in delivered) == 1


def test_answers_come_in_the_order_of_the_frames_and_say_how_long_they_waited_for_it():
    delivered, _ = stream(Planned([SENT]), [0.2, 0.05, 0.05], frames=3)
    assert [outcome.frame for outcome, _ in delivered] == [0, 1, 2]
    assert [at_s for _, at_s in delivered] == sorted(at_s for _, at_s in delivered)
    assert delivered[1][0].overlap.order_s == pytest.approx(0.21 - 0.07)
    assert delivered[1][0].measured.total_s == pytest.approx(0.20)  # until it is delivered


def test_lost_frames_are_finished_here_in_time_and_in_order():
    delivered, air = stream(Planned([SENT]), [0.1, None, None, 0.1], frames=4, finish_s=0.05)
    outcomes = [outcome for outcome, _ in delivered]
    assert [outcome.fallback is None for outcome in outcomes] == [True, False, False, True]
    assert [outcome.frame for outcome in outcomes] == [0, 1, 2, 3]
    assert outcomes[1].met
    assert air.cancelled == 0  # their replies may come late, and tell how fast the link is
    # Both were sent before the first loss was known: the link has failed once.
    assert [len(outcome.transfers) for outcome in outcomes] == [1, 1, 0, 1]


def test_a_reply_is_taken_while_the_device_works_on_its_own_answer():
    policy = Planned([SENT], finish_s=0.28)
    delivered, _ = stream(policy, [0.1], frames=1, in_flight=1, finish_s=0.28)
    outcome, at_s = delivered[0]
    assert outcome.fallback is None
    assert at_s == pytest.approx(0.01 + 4 * 0.028)  # at the end of the step during which it came
    assert outcome.measured.discarded_s == pytest.approx(4 * 0.028)


def test_a_device_that_could_answer_in_time_is_in_time_whatever_the_link_does():
    delivered, _ = stream(Planned([SENT], finish_s=0.24), [None] * 5, frames=5, in_flight=1, finish_s=0.24)
    assert all(outcome.met and outcome.fallback is not None for outcome, _ in delivered)


def test_an_own_answer_that_is_late_anyway_delays_no_reply_past_its_deadline():
    policy = Planned([SENT], finish_s=3.0)
    for reply_s in (0.1, 0.2, 0.28):
        delivered, _ = stream(policy, [reply_s], frames=1, in_flight=1, finish_s=3.0)
        assert delivered[0][0].met
        assert delivered[0][0].measured.total_s == pytest.approx(0.01 + reply_s)


def test_a_device_waits_for_no_reply_while_its_own_answer_may_be_in_time():
    delivered, _ = stream(Planned([SENT], finish_s=0.24, spread=0.1), [None], frames=1, in_flight=1, finish_s=0.28)
    assert delivered[0][0].met  # slower than expected, and so later than the wait allowed for
    assert delivered[0][0].measured.total_s == pytest.approx(0.01 + 0.28)


def test_a_long_step_begins_only_when_the_reply_is_overdue():
    policy = Planned([SENT], finish_s=2.0)
    delivered, _ = stream(policy, [0.05, 0.3], frames=2, in_flight=1, finish_s=2.0, sla_s=0.9)
    assert [outcome.measured.discarded_s for outcome, _ in delivered] == pytest.approx([0.0, 0.2])


def test_a_late_reply_still_tells_the_rate():
    policy = Planned([SENT], finish_s=0.2)
    delivered, _ = stream(policy, [0.4, 0.1, 0.1], frames=3, in_flight=1, finish_s=0.2)
    transfers = [[(each.delivered, each.at_s) for each in outcome.transfers] for outcome, _ in delivered]
    assert delivered[0][0].fallback == "DeadlineExceeded: no answer in time"
    assert [delivered for delivered, _ in transfers[0]] == [False]
    assert (True, pytest.approx(0.41)) in transfers[2]


def test_a_late_refusal_of_a_cloud_with_another_model_is_told():
    class Foreign(Air):
        def start(self, request, timeout_s):
            call = super().start(request, timeout_s)
            call.reply = refuse
            return call

    def refuse():
        raise OtherModel("it runs another model")

    clock, delivered = VirtualClock(), []
    worker, air = Worker(clock, finish_s=0.2), Foreign(clock, [0.4] * 3)
    device = Device(worker, air, Planned([SENT], finish_s=0.2), 0.3, clock=clock)
    for _ in range(3):
        device.submit(None, None, delivered.append)
        device.drain()
    assert [outcome.impossible for outcome in delivered][1] == ("late reply: OtherModel: it runs another model",)


def test_the_calls_of_at_most_two_late_frames_go_on():
    delivered, air = stream(Planned([SENT], finish_s=0.2), [None] * 5, frames=5, in_flight=1, finish_s=0.2)
    assert len(delivered) == 5
    assert air.cancelled == 3


def test_an_overdue_reply_is_news_for_the_next_frame():
    policy = Planned([SENT], transfer_s=0.05, rate_mbps=0.2)  # 1,000 bytes take 40 ms
    clock = VirtualClock()
    device = Device(Worker(clock), Air(clock, [0.2, 0.1]), policy, 0.3, clock=clock, in_flight=2)
    device.submit(None, 0.0, lambda outcome: None)
    clock.advance(0.12)
    device.submit(None, 0.12, lambda outcome: None)
    device.drain()
    second = next(situation for situation in policy.asked if situation.now_s > 0.12)
    assert policy.asked[0].at_most_mbps == math.inf
    assert second.at_most_mbps == pytest.approx(0.008 / (0.13 - 0.06 + 0.04))
    assert second.device_busy_s == pytest.approx(1.1 * 0.05, abs=0.003)


def test_frames_behind_a_failure_do_not_hide_later_failures():
    policy = Planned([SENT], finish_s=0.1)
    delivered, _ = stream(policy, [None] * 12, frames=12, in_flight=2, finish_s=0.1)
    told = [len(outcome.transfers) for outcome, _ in delivered]
    assert told[0] == 1
    assert 4 <= sum(told) < 12


def test_a_frame_that_stays_here_does_not_make_a_bet_late():
    """The first one's reply comes soon; the second one would keep the device busy past its deadline."""
    clock, delivered = VirtualClock(), []
    policy = Bets([SENT], finish_s=0.27)
    device = Device(Worker(clock, finish_s=0.27), Air(clock, [0.08]), policy, 0.3, clock=clock, in_flight=4)
    device._outlook.has_room = lambda: True  # a camera's frame comes when it comes
    for _ in range(2):
        device.submit(None, None, delivered.append)
    device.drain()
    assert [outcome.plan.is_local for outcome in delivered] == [False, True]
    assert delivered[0].met
    assert delivered[0].measured.total_s < 0.15


class Bets(Planned):
    """Sends the first frame; the others take long here."""

    def choose(self, situation):
        here = dataclasses.replace(self.predicted, device_s=0.27, finish_s=0.0)
        return Decision(SENT, self.predicted) if situation.now_s == 0 else Decision(HERE, here)


def test_a_frame_that_is_sent_after_its_deadline_is_still_waited_for():
    clock, delivered = VirtualClock(1.0), []
    air = Air(clock, [0.1])
    device = Device(Worker(clock, finish_s=2.0), air, Planned([SENT], finish_s=2.0), 0.3, clock=clock)
    device.submit(None, 0.2, delivered.append)
    device.drain()
    assert air.timeouts_s[0] > 1.0
    assert delivered[0].fallback is None


def test_no_call_is_longer_than_a_cloud_allows():
    clock = VirtualClock()
    air = Air(clock, [0.1])
    Device(Worker(clock), air, Planned([SENT]), 50.0, clock=clock).submit(None, None, lambda outcome: None)
    assert air.timeouts_s == [LONGEST_WAIT_S]


def test_a_step_that_raises_is_tried_again():
    class Failing(Worker):
        def finish_in_steps(self, state, plan):
            if not self.failed:
                self.failed = True
                raise MemoryError("once")
            yield from super().finish_in_steps(state, plan)

    clock, delivered = VirtualClock(), []
    worker = Failing(clock, finish_s=0.28)
    worker.failed = False
    device = Device(worker, Air(clock, [None]), Planned([SENT], finish_s=0.28), 0.3, clock=clock)
    with pytest.raises(MemoryError):
        device.submit(None, None, delivered.append)
    device.drain()
    assert delivered[0].answer == ANSWER


def test_an_own_answer_never_ends_after_the_last_moment_of_a_frame_that_time_is_kept_for():
    flights = [
        flight_of(SENT, begin_s=0.245, rescue_s=0.055, is_kept=True),
        flight_of(SENT, begin_s=0.02, rescue_s=0.3),
    ]
    assert next_begun(flights, None, 0.24) is None
    assert next_moment_s(flights, None, 0.24) == pytest.approx(0.245)
    assert next_begun(flights, None, 0.245)[0] is flights[0]


def flight_of(plan, begin_s, rescue_s, is_kept=False):
    """A flight without an answer, whose steps take a tenth of `rescue_s`."""
    predicted = dataclasses.replace(Planned([plan]).predicted, finish_s=rescue_s)
    flight = Flight(0, 0.0, 0.3, Decision(plan, predicted), None, Measured(), print, Overlap(), ())
    flight.wait = Wait(0.1, begin_s, 0.3, rescue_s, is_kept)
    return flight


def test_a_call_that_fails_at_once_is_a_fallback():
    delivered, _ = stream(Planned([SENT]), [0.1, Unreachable("gone"), 0.1], frames=3)
    assert [outcome.fallback for outcome, _ in delivered] == [None, "Unreachable: gone", None]


def test_a_frame_waits_if_its_compute_would_delay_the_rescue_of_an_earlier_one():
    policy = Planned([SENT, HERE], device_s=0.2)
    delivered, _ = stream(policy, [0.1, 0.1, 0.1, 0.1], frames=3, compute_s=0.2, sla_s=0.5)
    outcomes = [outcome for outcome, _ in delivered]
    assert [outcome.at_s for outcome in outcomes] == pytest.approx([0.0, 0.2, 0.4])
    held, _ = stream(policy, [None, 0.1, 0.1, 0.1], frames=2, compute_s=0.2, sla_s=0.5)
    # The first frame is sent at 0.2 and is finished here from about 0.45 on, so the next may run from 0.2 to 0.42.
    assert held[0][0].met
    late, _ = stream(Planned([SENT], device_s=0.2), [None, 0.1], frames=2, compute_s=0.2, sla_s=0.4)
    assert late[0][0].met  # the next one would have ended after the rescue had to begin
    assert late[1][0].at_s >= late[0][1]


@pytest.mark.parametrize("lost", [None, Unreachable("gone")])
def test_frames_in_flight_are_no_more_than_the_device_could_finish_in_time_if_all_were_lost(lost):
    policy = Planned([SENT], finish_s=0.06, unhurried_s=0.09)
    delivered, _ = stream(policy, [lost] * 12, frames=12, finish_s=0.06)
    outcomes = [outcome for outcome, _ in delivered]
    assert [outcome.frame for outcome in outcomes] == list(range(12))
    assert all(outcome.fallback is not None and outcome.met for outcome in outcomes)


def test_a_frame_that_waits_for_an_earlier_one_still_has_time_for_itself():
    clock, delivered = VirtualClock(), []
    policy = Planned([SENT], finish_s=0.12)
    device = Device(Worker(clock, finish_s=0.12), Air(clock, [None, None]), policy, 0.3, clock=clock, in_flight=4)
    device._outlook.has_room = lambda: True  # a camera's frame comes when it comes
    device.submit(None, None, delivered.append)
    device.submit(None, None, delivered.append)
    device.drain()
    assert all(outcome.met and outcome.fallback for outcome in delivered)
    assert delivered[1].overlap.held_s > 0.05


def test_more_frames_are_in_flight_where_the_device_finishes_them_faster():
    most = []
    for finish_s in (0.02, 0.06, 0.12):
        delivered, _ = stream(Planned([SENT], finish_s=finish_s), [0.1] * 12, frames=12)
        most.append(max(outcome.overlap.others for outcome, _ in delivered))
    assert most == [3, 2, 0]


def test_many_frames_in_flight_are_reached_slowly():
    delivered, _ = stream(Planned([SENT], finish_s=0.01), [0.1] * 120, frames=120, in_flight=6)
    others = [outcome.overlap.others for outcome, _ in delivered]
    assert [max(others[:50]), max(others[60:100]), max(others)] == [3, 4, 5]


def test_fewer_frames_are_in_flight_once_the_cloud_has_refused_so_many():
    replies_s = [0.1] * 3 + [TooMany("client 'robot' already has 3 requests waiting")] + [0.1] * 20
    delivered, _ = stream(Planned([SENT], finish_s=0.02), replies_s, frames=24)
    others = [outcome.overlap.others for outcome, _ in delivered]
    assert [max(others[:5]), max(others[5:])] == [3, 2]


def test_a_frame_that_fails_while_many_are_in_flight_leaves_few():
    delivered, _ = stream(Planned([SENT], finish_s=0.01), [0.1] * 130 + [None] + [0.1] * 29, frames=160, in_flight=6)
    others = [outcome.overlap.others for outcome, _ in delivered]
    assert [max(others[:130]), max(others[137:])] == [5, 3]


def test_one_more_frame_is_tried_after_a_thousand_without_a_refusal():
    limit = FlightLimit(3)
    limit.failed(SimpleNamespace(failure=(TooMany("full"), 0.0), overlap=Overlap(others=1)))
    for frames in (1, 2, 3, 3):
        assert limit.frames == frames
        for _ in range(1000):
            limit.delivered()


def test_the_planner_knows_when_the_uplink_will_be_free():
    policy = Planned([SENT], transfer_s=0.09, rate_mbps=0.1)  # 1,000 bytes take 80 ms
    stream(policy, [0.1] * 3, frames=3)
    # Each frame asks, and then whether there is room for another one.
    assert [each.uplink_busy_s for each in policy.asked[::2]] == pytest.approx([0.0, 0.08, 0.15], abs=0.005)


def test_a_busy_uplink_counts_against_plans_that_send(make_profile, model):
    profile = make_profile(2e-3)
    platforms = Platforms(model.shape, profile, profile, 1000.0, 0.01)
    for name in ("adaptive", "janus", "cloud-jpeg"):
        idle, busy = (
            make_policy(name, platforms).choose(Situation(0.0, 0.3, uplink_busy_s=busy_s)) for busy_s in (0.0, 0.25)
        )
        if not busy.plan.is_local:
            waits_s = busy.predicted.uplink_wait_s
            assert waits_s == pytest.approx(max(0.0, 0.25 - busy.predicted.device_s - busy.predicted.encode_s))
            assert busy.predicted.remote_s >= waits_s
        assert idle.predicted.uplink_wait_s == 0.0


def test_frames_that_share_the_uplink_show_its_true_rate(make_profile, model):
    profile = make_profile(1e-4)
    trace = Trace("steady", 1.0, [2.0])
    platforms = Platforms(model.shape, profile, profile, 2.0, 0.1)
    outcomes = list(simulate(make_policy("cloud-only", platforms), platforms, trace, 1.0, 8.0, in_flight=4))
    assert max(outcome.overlap.uplink_s for outcome in outcomes) > 0.005
    rates = [transfer.rate_mbps for outcome in outcomes for transfer in outcome.transfers]
    assert rates == pytest.approx([2.0] * len(rates), rel=0.05)


@pytest.mark.parametrize("policy", ["adaptive", "janus", "cloud-jpeg"])
def test_on_a_link_with_a_long_round_trip_throughput_grows_and_no_frame_is_late(make_profile, model, policy):
    profile = make_profile(1e-4)
    platforms = Platforms(model.shape, profile.slowed(200), profile, 50.0, 0.1)
    runs = [
        list(simulate(make_policy(policy, platforms), platforms, Trace("steady", 1.0, [50.0]), 0.3, 6.0, in_flight=n))
        for n in (1, 4)
    ]
    assert len(runs[1]) > 1.8 * len(runs[0])
    assert all(outcome.met for run in runs for outcome in run)


def test_newest_frame_of_a_camera_wins(make_profile, model):
    profile = make_profile(1e-4)
    platforms = Platforms(model.shape, profile, profile, 50.0, 0.1)
    policy = make_policy("cloud-jpeg", platforms)
    outcomes = list(simulate(policy, platforms, Trace("steady", 1.0, [50.0]), 0.3, 3.0, 0.01, in_flight=4))
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(outcomes)]
    assert [outcome.frame for outcome in outcomes] == list(range(len(outcomes)))
    assert min(gaps) > 0.0
    assert max(gaps) > 0.015  # frames in between are dropped while four are in flight


def test_a_lost_link_loses_no_frame(make_profile, model):
    profile = make_profile(1e-4)
    platforms = Platforms(model.shape, profile.slowed(100), profile, 20.0, 0.1)
    trace = Trace("gaps", 1.0, [20.0, 0.0, 20.0, 20.0, 0.0, 0.0])
    outcomes = list(simulate(make_policy("adaptive", platforms), platforms, trace, 0.4, 12.0, in_flight=4))
    assert [outcome.frame for outcome in outcomes] == list(range(len(outcomes)))
    assert any(outcome.fallback for outcome in outcomes)
    assert all(outcome.answer.classes for outcome in outcomes)


def test_a_transport_for_one_request_refuses_several():
    clock = VirtualClock()
    with pytest.raises(InputError, match="one request at a time"):
        Device(Worker(clock), object(), Planned([SENT]), 0.3, clock=clock, in_flight=2)


def test_records_keep_what_overlapped(tmp_path):
    delivered, _ = stream(Planned([SENT]), [0.2, 0.05, None], frames=3)
    path = tmp_path / "records.jsonl"
    writer = RecordWriter(path)
    for outcome, _ in delivered:
        writer.write(outcome)
    writer.close()
    read = read_records(path).outcomes
    assert [outcome.overlap for outcome in read] == [outcome.overlap for outcome, _ in delivered]
    assert read[1].overlap != Overlap()


def test_an_error_of_the_worker_leaves_a_device_that_goes_on():
    clock = VirtualClock()
    worker = Worker(clock)
    device = Device(worker, Air(clock, [0.1, 0.1]), Planned([SENT]), 0.3, clock=clock, in_flight=2)
    device.submit(None, None, lambda outcome: None)
    worker.prepare = lambda frame: (_ for _ in ()).throw(InputError("not a frame"))
    with pytest.raises(InputError):
        device.submit(None, None, lambda outcome: None)
    del worker.prepare
    delivered = []
    device.submit(None, None, delivered.append)
    device.drain()
    assert [outcome.frame for outcome in delivered] == [1]


def test_frames_in_flight_are_attended_while_a_camera_is_awaited():
    class Attends:
        def __init__(self):
            self.left = 3

        def attend(self, until_s):
            self.left -= 1
            return self.left > 0

    device = Attends()
    assert list(islice(attended(iter([1, 2]), device, lambda: 0.0), 5)) == [1, 2]


def test_a_live_stream_answers_in_order_what_the_device_alone_answers(model, make_profile, frames):
    profile = dataclasses.replace(make_profile(1e-4), model=model.name)
    with (
        Cloud(model, profile, engine="eager") as cloud,
        connect(
            model, f"127.0.0.1:{cloud.port}", profile, sla_s=PATIENCE_S, policy="cloud-only", in_flight=4
        ) as device,
    ):
        alone = [device.infer(frame).answer.classes for frame in frames]
        delivered = []
        for frame in frames * 3:
            device.submit(frame, None, delivered.append)
        device.drain()
        cloud.close()
        device.submit(frames[0], None, delivered.append)
        device.drain()
    assert [outcome.answer.classes for outcome in delivered] == [*alone * 3, alone[0]]
    assert [outcome.fallback is None for outcome in delivered] == [True] * 12 + [False]
    assert max(outcome.overlap.others for outcome in delivered) in (1, 2, 3)
