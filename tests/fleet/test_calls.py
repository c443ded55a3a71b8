"""Calls of a simulated fleet end when the reply is back by the device's clock, however often the device looks."""

import pytest

from janus_vit.errors import DeadlineExceeded
from janus_vit.fleet.shared_cloud.served_cloud import ServedCloud
from janus_vit.fleet.shared_cloud.transport import FleetTransport
from janus_vit.fleet.shared_cloud.world import World
from janus_vit.links.generator import trace_from
from janus_vit.runtime.flights.calls import Calls
from janus_vit.simulation.baseline_schedulers import OneAtATime
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.costs import Costs
from janus_vit.simulation.link import RecordedLink
from janus_vit.wire.messages import Request

RTT_S, SEND_S, COMPUTE_S = 0.02, 0.1, 0.05
BYTES = 100_000  # take SEND_S at 8 Mbps


class Rig:
    """A world with one cloud that computes each frame alone, and devices at 8 Mbps."""

    def __init__(self, platforms):
        self.world, self.began, self._platforms = World(), [], platforms
        self.cloud = ServedCloud(self.world, OneAtATime(platforms.shape.blocks), self._compute)
        merges = (0,) * platforms.shape.blocks
        self.request = Request("simulated", "jpeg90", 0, merges, 0, 0, 10.0, "camera", bytes(BYTES))
        self.decode_s = Costs(platforms).of_request(self.request).decode_s
        self.alone_s = SEND_S + RTT_S + self.decode_s + COMPUTE_S

    def device(self, at_s=0.0):
        clock, link = VirtualClock(at_s), RecordedLink(trace_from("constant:8", 60.0, 0), RTT_S)
        costs = Costs(self._platforms)
        return clock, FleetTransport(self.world, clock, link, self.cloud, self._platforms.shape, costs)

    def run(self, *streams):
        for stream in streams:
            self.world.start(stream)
        self.world.run()

    def _compute(self, batch):
        self.began.extend((job.client, self.world.now_s) for job in batch.jobs)
        return COMPUTE_S


@pytest.fixture
def rig(platforms):
    return Rig(platforms)


def test_a_call_ends_when_its_reply_is_back(rig):
    clock, transport = rig.device()
    assert isinstance(transport, Calls)
    seen = []

    def stream():
        call = transport.start(rig.request, 5.0)
        assert clock.now() == 0.0
        transport.wait([call], 5.0)
        seen.append((clock.now(), call.ended_s, call.reply().receive_s))

    rig.run(stream)
    assert seen == [pytest.approx((rig.alone_s, rig.alone_s, SEND_S))]


def test_a_call_that_blocks_ends_at_the_same_time(rig):
    clock, transport = rig.device()
    rig.run(lambda: transport.infer(rig.request, 5.0))
    assert clock.now() == pytest.approx(rig.alone_s)


@pytest.mark.parametrize("step_s", [0.001, 0.007, 0.03, 1.0])
def test_a_device_that_works_between_two_looks_finds_the_same_end(rig, step_s):
    """Its clock is ahead of the world, and another device shares the cloud."""
    clock, transport = rig.device()
    _, other = rig.device()
    seen = []

    def stream():
        call = transport.start(rig.request, 5.0)
        while call.ended_s is None:
            seen.append(clock.now())
            clock.advance(step_s)
        seen.append(call.ended_s)

    rig.run(lambda: other.infer(rig.request, 5.0), stream)
    assert seen[-1] == pytest.approx(rig.alone_s + COMPUTE_S)  # the other one was first
    assert seen[-2] < seen[-1] <= seen[-2] + step_s


def test_looking_before_the_payload_can_have_arrived_lets_nobody_else_run(rig):
    clock, transport = rig.device()
    seen = []

    def stream():
        call = transport.start(rig.request, 5.0)
        for _ in range(10):
            clock.advance((SEND_S + RTT_S) / 10 - 1e-6)
            assert call.ended_s is None
            seen.append(rig.world.now_s)

    rig.run(stream)
    assert set(seen) == {0.0}


def test_a_device_that_looks_lets_the_world_run_ahead_by_half_a_round_trip_at_most(rig):
    clock, transport = rig.device()
    seen = []

    def stream():
        call = transport.start(rig.request, 5.0)
        while call.ended_s is None:
            clock.advance(0.001)
            seen.append(rig.world.now_s - clock.now())

    rig.run(stream)
    assert 0 < max(seen) <= RTT_S / 2 + 1e-9


def test_a_wait_ends_with_its_time_and_the_call_goes_on(rig):
    clock, transport = rig.device()
    seen = []

    def stream():
        call = transport.start(rig.request, 5.0)
        for timeout_s in (0.0, 0.05, 0.1, 5.0):
            transport.wait([call], timeout_s)
            seen.append((clock.now(), call.ended_s))

    rig.run(stream)
    ended_s = pytest.approx(rig.alone_s)
    assert seen == [(0.0, None), (0.05, None), (pytest.approx(0.15), None), (ended_s, ended_s)]


def test_a_wait_for_several_calls_ends_with_the_first_one(rig):
    clock, transport = rig.device()
    seen = []

    def stream():
        calls = [transport.start(rig.request, 5.0) for _ in range(3)]
        while calls:
            transport.wait(calls, 5.0)
            seen.append(clock.now())
            calls = [call for call in calls if call.ended_s is None]

    rig.run(stream)
    assert seen == pytest.approx([rig.alone_s, rig.alone_s + SEND_S, rig.alone_s + 2 * SEND_S])


def test_a_wait_takes_the_end_that_another_wait_has_found_already(rig):
    """The world knows the end of a call half a round trip before the device does."""
    clock, transport = rig.device()
    seen = []

    def stream():
        call = transport.start(rig.request, 5.0)
        transport.wait([call], rig.alone_s - RTT_S / 4)
        later = transport.start(rig.request, 5.0)
        seen.append(call.ended_s)
        transport.wait([later, call], 5.0)
        seen.extend([clock.now(), call.ended_s, later.ended_s])

    rig.run(stream)
    assert seen == [None, pytest.approx(rig.alone_s), pytest.approx(rig.alone_s), None]


@pytest.mark.parametrize("timeout_s", [0.05, SEND_S + RTT_S + 0.01])
def test_a_call_that_takes_too_long_ends_with_its_time(rig, timeout_s):
    clock, transport = rig.device()
    seen = []

    def stream():
        call = transport.start(rig.request, timeout_s)
        transport.wait([call], 5.0)
        seen.append((clock.now(), call.ended_s))
        with pytest.raises(DeadlineExceeded):
            call.reply()

    rig.run(stream)
    assert seen == [pytest.approx((timeout_s, timeout_s))]


@pytest.mark.parametrize(("cancelled_s", "computed"), [(0.05, 1), (SEND_S + 0.025, 1), (0.3, 2)])
def test_a_cancelled_call_is_computed_only_if_the_cloud_has_begun(rig, cancelled_s, computed):
    """The cloud is busy with another frame until 0.16 s; cancelled is a call that is sent, waits, or has ended."""
    clock, transport = rig.device()
    _, other = rig.device()

    def stream():
        call = transport.start(rig.request, 5.0)
        clock.advance(cancelled_s)
        call.cancel()

    rig.run(lambda: other.infer(rig.request, 5.0), stream)
    assert len(rig.began) == computed
