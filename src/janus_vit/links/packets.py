"""One direction of a packet link: when a packet that goes in at some time comes out, or that it does not.

A packet leaves the link when the trace, integrated from the moment at which the packet before it left, has carried all
its bytes; a rate of zero stalls. What waits does so in a drop-tail queue of bytes, the packet that is being sent
included. Random losses strike on the way, after the queue: a lost packet has used the link. Then comes the delay.
Pure: time is an argument, and packets are bytes that nobody looks into.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass

from janus_vit.errors import InputError
from janus_vit.links.traces import Trace


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the packets that one direction was given."""

    sent: int = 0  # into the queue and over the link, lost ones included
    dropped: int = 0  # found the queue full
    lost: int = 0  # sent, but lost on the way


class PacketLink:
    """One direction of a link. Calls must come in the order of time.

    Args:
        trace: the rate; None: as fast as it goes, with no queue. delay_s: of every packet, once it was sent.
        queue_bytes: what may wait. loss: probability that a sent packet never arrives, from a generator of this seed.

    Raises:
        InputError: a loss outside [0, 1), or a negative seed.
    """

    def __init__(self, trace: Trace | None, delay_s: float, queue_bytes: int, loss: float = 0.0, seed: int = 0) -> None:
        if not 0 <= loss < 1:  # also not a number
            raise InputError(f"loss is {loss}; give a share of packets from 0 to below 1.")
        if seed < 0:
            raise InputError(f"seed is {seed}; give a whole number of 0 or more.")
        self._trace = trace
        self._delay_s = delay_s
        self._queue_bytes = queue_bytes
        self._loss = loss
        self._random = random.Random(seed)
        self._free_s = 0.0  # when the last queued packet has left
        self._queued: deque[tuple[float, int]] = deque()  # (leaves at, bytes), oldest first
        self._queued_bytes = 0
        self._travelling: deque[tuple[float, bytes]] = deque()  # (comes out at, packet), oldest first
        self._sent = self._dropped = self._lost = 0

    @property
    def next_s(self) -> float:
        """When the next packet comes out; infinity if none is under way."""
        return self._travelling[0][0] if self._travelling else math.inf

    @property
    def counts(self) -> Counts:
        """Since the beginning."""
        return Counts(self._sent, self._dropped, self._lost)

    def put(self, packet: bytes, now_s: float) -> None:
        """A packet arrives at the queue; it is dropped if it does not fit."""
        leaves_s = now_s if self._trace is None else self._queue(self._trace, len(packet), now_s)
        if leaves_s is None:
            self._dropped += 1
            return
        self._sent += 1
        if self._loss and self._random.random() < self._loss:
            self._lost += 1
            return
        self._travelling.append((leaves_s + self._delay_s, packet))

    def take(self, now_s: float) -> list[bytes]:
        """The packets that have come out by now, in order; each is given once."""
        out = []
        while self._travelling and self._travelling[0][0] <= now_s:
            out.append(self._travelling.popleft()[1])
        return out

    def _queue(self, trace: Trace, size_bytes: int, now_s: float) -> float | None:
        """When a packet that arrives now has left; None if there is no room for it."""
        while self._queued and self._queued[0][0] <= now_s:
            self._queued_bytes -= self._queued.popleft()[1]
        if self._queued_bytes + size_bytes > self._queue_bytes:
            return None
        self._free_s = trace.finish_time(max(now_s, self._free_s), size_bytes)
        self._queued.append((self._free_s, size_bytes))
        self._queued_bytes += size_bytes
        return self._free_s
