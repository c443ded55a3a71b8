"""A request of a simulated fleet on its way: the payload arrives, is decoded and computed, and the reply goes back.

Its events are those of the world; nothing waits for it but the device that looks at it. The device's clock may be ahead
of the world: a call that has not ended in the world may have ended by that clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from janus_vit.errors import DeadlineExceeded, JanusError, Rejected
from janus_vit.fleet.shared_cloud.served_cloud import Served, ServedCloud
from janus_vit.fleet.shared_cloud.world import World
from janus_vit.runtime.clock import CLOSEST_S
from janus_vit.runtime.flights.calls import EndedCall
from janus_vit.scheduling.job import Job
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.link import RecordedLink
from janus_vit.simulation.worker import SIMULATED_ANSWER
from janus_vit.wire.messages import Reply


@dataclass(frozen=True, slots=True)
class Sent:
    """Times of one call.

    Attributes:
        began_s: when it began.
        sent_s: when its last byte is sent.
        half_s: half of the round trip.
        decode_s: decoding in the cloud.
        until_s: when the device gives it up.
    """

    began_s: float
    sent_s: float
    half_s: float
    decode_s: float
    until_s: float

    @property
    def arrives_s(self) -> float:
        """When its last byte is in the cloud."""
        return self.sent_s + self.half_s


class FleetCall:
    """A `Call` in a `World`.

    Args:
        world: shared with the cloud.
        clock: of the device, which may be ahead of the world.
        link: of the device.
        cloud: shared by all devices.
        sent: its times.
        make_job: called when the payload is in the cloud.
    """

    def __init__(
        self,
        world: World,
        clock: VirtualClock,
        link: RecordedLink,
        cloud: ServedCloud,
        sent: Sent,
        make_job: Callable[[], Job],
    ) -> None:
        self._world = world
        self._clock = clock
        self._link = link
        self._cloud = cloud
        self._sent = sent
        self._make_job = make_job
        self._job: Job | None = None
        self._ended: EndedCall | None = None
        self._on_ended: Callable[[FleetCall], None] = lambda call: None
        if sent.arrives_s < sent.until_s:
            world.at(sent.arrives_s, self._arrive)
        else:
            link.abandon(sent.until_s)
            self._end(_late(), sent.until_s)

    @property
    def ended_s(self) -> float | None:
        """See `Call.ended_s`. Only for streams."""
        now_s = self._clock.now()
        if not self.is_known and now_s >= self.ends_s:
            # Whatever the device sends from now on takes half a round trip, so the world may run ahead for that long.
            self._world.wait_until(now_s + self._link.rtt_s / 2)
        return self.ends_s if self.is_known and now_s >= self.ends_s - CLOSEST_S else None

    @property
    def is_known(self) -> bool:
        """Whether the world has reached the end of the call. By the device's clock it may still be to come."""
        return self._ended is not None

    @property
    def ends_s(self) -> float:
        """When it ends, on the device's clock; the earliest possible time while that is not known."""
        if self._ended is not None:
            return self._ended.ended_s
        return max(self._sent.arrives_s, self._world.now_s) + self._sent.half_s

    def decided_s(self, until_s: float) -> float:
        """The time in the world from which it is known whether the call ends before a time on the device's clock."""
        return until_s - self._sent.half_s

    def reply(self) -> Reply:
        """See `Call.reply`."""
        assert self._ended is not None
        return self._ended.reply()

    def cancel(self) -> None:
        """See `Call.cancel`. The cloud learns of it half a round trip later."""
        now_s = self._clock.now()
        self._link.abandon(now_s, self._sent.sent_s)
        self._world.at(now_s + self._sent.half_s, self._give_up)

    def notify(self, on_ended: Callable[[FleetCall], None]) -> None:
        """Call a function when the end is known, instead of the one before."""
        self._on_ended = on_ended

    def _arrive(self) -> None:
        """The payload is in the cloud, which refuses it or decodes it."""
        if self.is_known:
            return
        sent, self._job = self._sent, self._make_job()
        self._world.at(sent.until_s - sent.half_s, self._give_up)
        try:
            self._cloud.check(self._job)
        except Rejected as error:
            self._end(error)
        else:
            self._world.at(sent.arrives_s + sent.decode_s, self._submit)

    def _submit(self) -> None:
        if self.is_known:
            return
        assert self._job is not None
        try:
            self._cloud.submit(self._job, self._take)
        except Rejected as error:
            self._end(error)

    def _take(self, served: Served) -> None:
        """The cloud answers."""
        sent = self._sent
        queue_s = self._world.now_s - sent.arrives_s - sent.decode_s - served.compute_s
        self._end(
            served.error
            or Reply(
                SIMULATED_ANSWER,
                receive_s=sent.sent_s - sent.began_s,
                decode_s=sent.decode_s,
                queue_s=max(0.0, queue_s),
                compute_s=served.compute_s,
                expected_queue_s=served.load.expected_wait_s,
                price=served.load.price,
            )
        )

    def _give_up(self) -> None:
        """The cloud learns that the device no longer waits."""
        if self.is_known:
            return
        if self._job is not None:
            self._cloud.cancel(self._job.id)
        self._end(_late())

    def _end(self, result: Reply | JanusError, ended_s: float | None = None) -> None:
        """Note the end of the call: half a round trip from now, unless it is told."""
        back_s = self._world.now_s + self._sent.half_s if ended_s is None else ended_s
        self._ended = EndedCall(back_s, result)
        self._on_ended(self)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the cloud did not answer in time")
