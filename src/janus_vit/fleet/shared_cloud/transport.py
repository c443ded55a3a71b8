"""A device's way to the cloud of a simulated fleet: its own recorded link, and the cloud that all share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from janus_vit.fleet.shared_cloud.call import FleetCall, Sent
from janus_vit.fleet.shared_cloud.served_cloud import ServedCloud
from janus_vit.fleet.shared_cloud.world import Mailbox, World
from janus_vit.planning.outcome import Transfer
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.price import CloudLoad
from janus_vit.runtime.clock import CLOSEST_S
from janus_vit.runtime.flights.calls import Call
from janus_vit.runtime.transport import Probed
from janus_vit.scheduling.job import Job
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.costs import Costs
from janus_vit.simulation.link import RecordedLink
from janus_vit.wire.messages import Greeting, Reply, Request


class FleetTransport:
    """A `Transport` and `Calls` in a stream of a `World`.

    Half of the round trip passes on the way to the cloud, half on the way back.

    Args:
        world: shared with the cloud.
        clock: of the device, which may be ahead of the world.
        link: of the device.
        cloud: shared by all devices.
        shape: shape of the model.
        costs: of decoding.
        overhead_s: called for each request; returns what the runtime adds to the round trip.
    """

    def __init__(
        self,
        world: World,
        clock: VirtualClock,
        link: RecordedLink,
        cloud: ServedCloud,
        shape: ModelShape,
        costs: Costs,
        overhead_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._world = world
        self._clock = clock
        self._link = link
        self._cloud = cloud
        self._shape = shape
        self._costs = costs
        self._overhead_s = overhead_s

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""
        return Greeting("simulated", "simulated", "")

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """See `Transport.infer`."""
        call = self.start(request, timeout_s)
        self.wait([call], math.inf)
        return call.reply()

    def start(self, request: Request, timeout_s: float) -> Call:
        """See `Calls.start`."""
        began_s = self._clock.now()
        sent = Sent(
            began_s=began_s,
            half_s=(self._link.rtt_s + self._overhead_s()) / 2,
            sent_s=self._link.send(began_s, len(request.body)),
            decode_s=self._costs.of_request(request).decode_s,
            until_s=began_s + timeout_s,
        )
        return FleetCall(self._world, self._clock, self._link, self._cloud, sent, lambda: self._job(request, sent))

    def wait(self, calls: Sequence[Call], timeout_s: float) -> None:
        """See `Calls.wait`: let the world run until one has ended by the device's clock, or the time has passed."""
        ours = [call for call in calls if isinstance(call, FleetCall)]
        until_s = self._clock.now() + timeout_s
        while True:
            until_s = min([until_s, *(call.ends_s for call in ours if call.is_known)])
            undecided = [call for call in ours if not call.is_known and call.ends_s < until_s - CLOSEST_S]
            if not undecided:
                break
            first = Mailbox[FleetCall](self._world)
            for call in undecided:
                call.notify(first.put)
            first.get(min(call.decided_s(until_s) for call in undecided))
        self._clock.advance(max(0.0, until_s - self._clock.now()))

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Probed]:
        """See `Transport.probe`."""
        began_s, rtt_s = self._clock.now(), self._link.rtt_s + self._overhead_s()
        send_s = self._link.send(began_s, size_bytes) - began_s
        if send_s + rtt_s > timeout_s:
            self._link.abandon(began_s + timeout_s)
            lost = Transfer(began_s + timeout_s, size_bytes, timeout_s, None)
            return _FutureProbe(lost, self._clock, self._world)
        probe = _FutureProbe(Transfer(began_s + send_s + rtt_s, size_bytes, send_s, rtt_s), self._clock, self._world)
        self._world.at(began_s + send_s + rtt_s / 2, lambda: probe.take(self._cloud.load()))
        return probe

    def close(self) -> None:
        """See `Transport.close`."""

    def _job(self, request: Request, sent: Sent) -> Job:
        """As `cloud.service` and `cloud.ingest` make it."""
        began_s = sent.began_s + sent.half_s  # as the cloud sees it
        abandoned_s = began_s + request.time_left_s
        deadline_s = min(began_s + (request.in_time_s or request.time_left_s), abandoned_s)
        tokens = request.tokens if request.split else None
        left = self._shape.counts(request.merges, request.split, tokens)
        return Job(self._cloud.next_id(), request.device, sent.arrives_s, deadline_s, request.split, left, abandoned_s)


class _FutureProbe(Future[Probed]):
    """A probe whose transfer is known at once, and whose load when the cloud answers it."""

    def __init__(self, transfer: Transfer, clock: VirtualClock, world: World) -> None:
        super().__init__()
        self._transfer = transfer
        self._clock = clock
        self._world = world
        self._load: CloudLoad | None = None

    def take(self, load: CloudLoad) -> None:
        """The cloud answers."""
        self._load = load

    def done(self) -> bool:
        """Whether the answer has come by the device's clock."""
        if self._clock.now() < self._transfer.at_s:
            return False
        if not super().done():
            self._world.wait_until(self._transfer.at_s)  # the cloud may be behind the device's clock
            self.set_result(Probed(self._transfer, self._load))
        return True
