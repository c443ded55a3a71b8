"""The device's transport in a simulation: a recorded link to a simulated cloud."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from janus_vit.errors import DeadlineExceeded, TransportError
from janus_vit.planning.outcome import Transfer
from janus_vit.runtime.clock import CLOSEST_S
from janus_vit.runtime.flights.calls import Call, EndedCall
from janus_vit.runtime.transport import Probed, Transport
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
        self._cloud_free_s = 0.0  # when the frames of this device that are in the cloud are computed

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""
        return Greeting("simulated", "simulated", "")

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """See `Transport.infer`."""
        elapsed_s, result = self._exchange(request, timeout_s)
        self._clock.advance(elapsed_s)
        return EndedCall(self._clock.now(), result).reply()

    def start(self, request: Request, timeout_s: float) -> Call:
        """See `Calls.start`."""
        elapsed_s, result = self._exchange(request, timeout_s)
        ended = EndedCall(self._clock.now() + elapsed_s, result)
        return _SimulatedCall(self._clock, self._link, ended, self._link.free_s)

    def wait(self, calls: Sequence[Call], timeout_s: float) -> None:
        """See `Calls.wait`."""
        now_s = self._clock.now()
        ends_s = [call.ends_s for call in calls if isinstance(call, _SimulatedCall)]
        self._clock.advance(max(0.0, min([now_s + timeout_s, *ends_s]) - now_s))

    def _exchange(self, request: Request, timeout_s: float) -> tuple[float, Reply | TransportError]:
        """How long a request takes from now on, and its result."""
        began_s = self._clock.now()
        sent_s = self._link.send(began_s, len(request.body))
        receive_s = sent_s - began_s
        arrives_s = sent_s + self._link.rtt_s / 2
        times = self._cloud.serve(request, arrives_s)
        queue_s = times.queue_s + max(0.0, self._cloud_free_s - arrives_s - times.decode_s)
        elapsed_s = receive_s + self._link.rtt_s + times.decode_s + queue_s + times.compute_s
        if elapsed_s > timeout_s:
            self._link.abandon(began_s + timeout_s)
            return timeout_s, DeadlineExceeded("the recorded link did not deliver in time")
        self._cloud_free_s = arrives_s + times.decode_s + queue_s + times.compute_s
        return elapsed_s, Reply(
            SIMULATED_ANSWER, receive_s, times.decode_s, queue_s, times.compute_s, times.expected_queue_s
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


class OneAtATime:
    """A transport whose requests block, so that the device computes nothing while it waits.

    Args:
        transport: carries the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self.hello = transport.hello
        self.infer = transport.infer
        self.probe = transport.probe
        self.close = transport.close


class _SimulatedCall:
    """A call whose end is known, and comes when the virtual clock reaches it.

    Args:
        clock: the device's clock.
        link: on which its payload is sent.
        ended: the call as it will have ended.
        sent_s: when its payload will have been sent.
    """

    def __init__(self, clock: VirtualClock, link: RecordedLink, ended: EndedCall, sent_s: float) -> None:
        self._clock = clock
        self._link = link
        self._ended = ended
        self._sent_s = sent_s
        self.ends_s = ended.ended_s

    @property
    def ended_s(self) -> float | None:
        """See `Call.ended_s`."""
        return self.ends_s if self._clock.now() >= self.ends_s - CLOSEST_S else None

    def reply(self) -> Reply:
        """See `Call.reply`."""
        return self._ended.reply()

    def cancel(self) -> None:
        """See `Call.cancel`."""
        self._link.abandon(self._clock.now(), self._sent_s)


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
