"""The recorded link and the simulated cloud, each by itself, and the transport that joins them."""

import numpy as np
import pytest

from janus_vit.errors import DeadlineExceeded
from janus_vit.links.traces import Trace
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.cloud import IdleCloud, ServiceTimes
from janus_vit.simulation.costs import Costs
from janus_vit.simulation.link import RecordedLink
from janus_vit.simulation.transport import SimulatedTransport
from janus_vit.wire.messages import Request

RTT_S = 0.02
REQUEST = Request("simulated", "tensor", 0, (0,) * 6, 0, 0, 1.0, "", bytes(100_000))


def link(*mbps, extra_bytes=0):
    return RecordedLink(Trace("steps", 1.0, np.array(mbps, float), {}), RTT_S, extra_bytes)


def test_transfers_follow_each_other_and_carry_the_extra_bytes():
    uplink = link(8.0, extra_bytes=1000)
    assert uplink.send(0.0, 99_000) == pytest.approx(0.1)
    assert uplink.send(0.05, 99_000) == pytest.approx(0.2)
    assert uplink.send(0.5, 99_000) == pytest.approx(0.6)


def test_of_an_abandoned_transfer_only_the_buffered_bytes_are_sent():
    uplink = link(8.0)
    uplink.send(0.0, 10_000_000)
    uplink.abandon(0.5)
    assert uplink.send(0.5, 0) == pytest.approx(0.5 + 256 * 1024 / 1e6)


def test_an_idle_cloud_takes_the_profiles_time_times_noise(platforms):
    costs = Costs(platforms)
    times = IdleCloud(costs, 0.003, lambda: 2.0).serve(REQUEST, 1.0)
    expected = costs.of_request(REQUEST)
    assert times == ServiceTimes(expected.decode_s, 0.003, 2 * expected.cloud_s, 0.0)


class BusyCloud:
    """A cloud that makes each request wait, and notes when requests arrive."""

    def __init__(self):
        self.arrivals_s = []

    def serve(self, request, arrival_s):
        self.arrivals_s.append(arrival_s)
        return ServiceTimes(0.001, 0.5, 0.002, expected_queue_s=0.25)


def test_any_cloud_can_stand_behind_the_link():
    clock, cloud = VirtualClock(3.0), BusyCloud()
    reply = SimulatedTransport(link(8.0), cloud, clock).infer(REQUEST, 1.0)
    assert cloud.arrivals_s == [pytest.approx(3.0 + 0.1 + RTT_S / 2)]
    assert (reply.queue_s, reply.expected_queue_s) == (0.5, 0.25)
    assert clock.now() == pytest.approx(3.0 + 0.1 + RTT_S + 0.001 + 0.5 + 0.002)


def test_a_late_reply_is_a_timeout_that_takes_exactly_that_long():
    clock = VirtualClock()
    with pytest.raises(DeadlineExceeded, match="did not deliver in time"):
        SimulatedTransport(link(8.0), BusyCloud(), clock).infer(REQUEST, 0.3)
    assert clock.now() == 0.3


def test_a_probe_is_done_when_the_clock_reaches_its_end():
    clock = VirtualClock()
    probe = SimulatedTransport(link(8.0), BusyCloud(), clock).probe(10_000, 1.0)
    assert not probe.done()
    clock.advance(0.01 + RTT_S)
    assert probe.done()
    assert probe.result().transfer.rate_mbps == pytest.approx(8.0)
