"""A device's way to the cloud of a simulated fleet: its own recorded link, and the cloud that all share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from janus_vit.errors import DeadlineExceeded, Overloaded
from janus_vit.fleet.served_cloud import Served, ServedCloud
from janus_vit.fleet.world import Mailbox, World
from janus_vit.planning.outcome import Transfer
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.price import CloudLoad
from janus_vit.runtime.transport import Probed
from janus_vit.scheduling.job import Job
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.costs import Costs
from janus_vit.simulation.link import RecordedLink
from janus_vit.simulation.worker import SIMULATED_ANSWER
from janus_vit.wire.messages import Greeting, Reply, Request


@dataclass(frozen=True, slots=True)
class _Sent:
    """Times of one call: when it began, when its last byte is sent, and when the device gives up."""

    began_s: float
    sent_s: float
    until_s: float


class FleetTransport:
    """A `Transport` in a stream of a `World`.

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
        began_s, half_s = self._clock.now(), (self._link.rtt_s + self._overhead_s()) / 2
        sent = _Sent(began_s, self._link.send(began_s, len(request.body)), began_s + timeout_s)
        arrives_s = sent.sent_s + half_s
        if arrives_s >= sent.until_s:
            self._link.abandon(sent.until_s)
            self._give_up(sent)
        self._world.wait_until(arrives_s)
        decode_s = self._costs.of_request(request).decode_s
        job = self._job(request, sent, arrives_s)
        try:
            self._cloud.check(job)
            self._world.wait_until(arrives_s + decode_s)
            served = self._serve(job, sent.until_s - half_s)
        except Overloaded:
            self._advance_to(self._world.now_s + half_s)
            raise
        if served is None:
            self._cloud.cancel(job.id)
            self._give_up(sent)
        assert served is not None, "giving up raises"
        ended_s = self._world.now_s
        self._advance_to(ended_s + half_s)
        if served.error is not None:
            raise served.error
        queue_s = max(0.0, ended_s - arrives_s - decode_s - served.compute_s)
        return Reply(
            SIMULATED_ANSWER,
            receive_s=sent.sent_s - began_s,
            decode_s=decode_s,
            queue_s=queue_s,
            compute_s=served.compute_s,
            expected_queue_s=served.load.expected_wait_s,
            price=served.load.price,
        )

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

    def _job(self, request: Request, sent: _Sent, arrives_s: float) -> Job:
        """As `cloud.service` and `cloud.ingest` make it."""
        began_s = arrives_s - (sent.sent_s - sent.began_s)  # as the cloud sees it
        abandoned_s = began_s + request.time_left_s
        deadline_s = min(began_s + (request.in_time_s or request.time_left_s), abandoned_s)
        tokens = request.tokens if request.split else None
        left = self._shape.counts(request.merges, request.split, tokens)
        return Job(self._cloud.next_id(), request.device, arrives_s, deadline_s, request.split, left, abandoned_s)

    def _serve(self, job: Job, until_s: float) -> Served | None:
        """Wait for the cloud's answer until a time."""
        answer = Mailbox[Served](self._world)
        self._cloud.submit(job, answer.put)
        return answer.get(until_s)

    def _advance_to(self, time_s: float) -> None:
        self._clock.advance(max(0.0, time_s - self._clock.now()))

    def _give_up(self, sent: _Sent) -> None:
        self._advance_to(sent.until_s)
        raise DeadlineExceeded("the cloud did not answer in time")


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
