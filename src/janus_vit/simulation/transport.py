"""The device's transport in a simulation: a recorded link to a simulated cloud."""

from __future__ import annotations

from concurrent.futures import Future

from janus_vit.errors import DeadlineExceeded
from janus_vit.planning.outcome import Transfer
from janus_vit.runtime.transport import Probed
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.cloud import SimulatedCloud
from janus_vit.simulation.link import RecordedLink
from janus_vit.simulation.worker import SIMULATED_ANSWER
from janus_vit.wire.messages import Greeting, Reply, Request


class SimulatedTransport:
    """A `Transport` that advances the clock instead of waiting.

    Half of the round trip passes before the cloud begins. A probe shares the link with the frame that is sent after it.

    Args:
        link: carries requests and probes.
        cloud: answers requests.
        clock: advanced by each request.
    """

    def __init__(self, link: RecordedLink, cloud: SimulatedCloud, clock: VirtualClock) -> None:
        self._link = link
        self._cloud = cloud
        self._clock = clock

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""
        return Greeting("simulated", "simulated", "")

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """See `Transport.infer`."""
        began_s = self._clock.now()
        sent_s = self._link.send(began_s, len(request.body))
        receive_s = sent_s - began_s
        times = self._cloud.serve(request, sent_s + self._link.rtt_s / 2)
        elapsed_s = receive_s + self._link.rtt_s + times.decode_s + times.queue_s + times.compute_s
        if elapsed_s > timeout_s:
            self._link.abandon(began_s + timeout_s)
            self._clock.advance(timeout_s)
            raise DeadlineExceeded("the recorded link did not deliver in time")
        self._clock.advance(elapsed_s)
        return Reply(
            SIMULATED_ANSWER, receive_s, times.decode_s, times.queue_s, times.compute_s, times.expected_queue_s
        )

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Probed]:
        """See `Transport.probe`."""
        began_s, rtt_s = self._clock.now(), self._link.rtt_s
        send_s = self._link.send(began_s, size_bytes) - began_s
        if send_s + rtt_s > timeout_s:
            self._link.abandon(began_s + timeout_s)
            return _FutureProbe(Transfer(began_s + timeout_s, size_bytes, timeout_s, None), self._clock)
        return _FutureProbe(Transfer(began_s + send_s + rtt_s, size_bytes, send_s, rtt_s), self._clock)

    def close(self) -> None:
        """See `Transport.close`."""


class _FutureProbe(Future[Probed]):
    """A probe whose result is known at once and is done when the virtual clock reaches its end."""

    def __init__(self, transfer: Transfer, clock: VirtualClock) -> None:
        super().__init__()
        self._end_s = transfer.at_s
        self._clock = clock
        self.set_result(Probed(transfer))

    def done(self) -> bool:
        """Return whether the transfer has ended."""
        return self._clock.now() >= self._end_s
