"""Calls of frames that the device has answered itself: their replies come late, but still tell how fast the link is.

Cancelling such a call would save nothing, because its payload is on the way already. The cloud knows the frame's
deadline, and refuses it instead of computing it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from janus_vit.errors import OtherModel, Overloaded, TransportError, WireError, described
from janus_vit.planning.outcome import Transfer
from janus_vit.runtime.flights.calls import Call
from janus_vit.runtime.flights.flight import Flight, Uplink
from janus_vit.runtime.known_load import KnownLoad
from janus_vit.runtime.measuring import transfer_of

_MOST = 2  # calls that are kept; then the oldest one is cancelled


class LateCalls:
    """Keeps the calls, and takes what they show.

    Args:
        load: learns the load that the cloud reports.
        uplink: learns when payloads have left.
        note: called with one sentence if a reply cannot be right.
    """

    def __init__(self, load: KnownLoad, uplink: Uplink, note: Callable[[str], None]) -> None:
        self._load = load
        self._uplink = uplink
        self._note = note
        self._kept: deque[tuple[Flight, Call]] = deque()

    def keep(self, flight: Flight) -> None:
        """Keep the call of a frame that was delivered, if it still goes on."""
        if flight.call is not None and flight.failure is None and flight.ending is not None and flight.ending.fallback:
            self._kept.append((flight, flight.call))
        if len(self._kept) > _MOST:
            self._kept.popleft()[1].cancel()

    def take(self) -> tuple[Transfer, ...]:
        """Transfers of the calls that have ended meanwhile."""
        ended = [each for each in self._kept if each[1].ended_s is not None]
        for each in ended:
            self._kept.remove(each)
        return tuple(transfer for flight, call in ended for transfer in self._shown_by(flight, call))

    def _shown_by(self, flight: Flight, call: Call) -> tuple[Transfer, ...]:
        """The transfer of a call that has ended; nothing if the payload has not arrived, which is known already."""
        assert call.ended_s is not None
        elapsed_s = call.ended_s - flight.sent_s
        try:
            reply = call.reply()
            self._load.learn(reply.expected_queue_s, reply.price, call.ended_s)
            return (self._uplink.delivered(flight, reply, call.ended_s)[1],)
        except Overloaded as error:
            self._load.learn(error.expected_wait_s, error.price, call.ended_s, refused=True)
            return (transfer_of(error, flight.decision.predicted, call.ended_s, elapsed_s, flight.size_bytes),)
        except (OtherModel, WireError) as error:
            self._note(f"late reply: {described(error)}")
            return ()
        except TransportError:
            return ()
