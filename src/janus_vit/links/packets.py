"""One direction of a packet link: decides when each packet arrives, or that it is dropped or lost.

A packet leaves the link once the trace, integrated from the time at which the previous packet left, has carried all its
bytes. Packets wait in a drop-tail queue that is limited in bytes and includes the packet being sent. Random losses
happen after the queue, so a lost packet has used the link. The delay comes last.

Does no I/O, takes the time as an argument, and does not interpret packets.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass

from janus_vit.errors import InputError
from janus_vit.links.traces import Trace


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened to the packets of one direction.

    Attributes:
        sent: packets that entered the queue and used the link, including lost ones.
        dropped: packets that found the queue full.
        lost: packets that were sent but lost on the way.
    """

    sent: int = 0
    dropped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Damage:
    """What happens to packets that are not lost. Shares of the packets, each decided by itself.

    Attributes:
        duplicated: share that arrives twice.
        reordered: share that arrives 10 ms later, behind its followers.
        corrupted: share of which one bit behind the IP header flips.

    Raises:
        InputError: a share is outside [0, 1].
    """

    duplicated: float = 0.0
    reordered: float = 0.0
    corrupted: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise InputError(f"{name} is {share}: use a share of packets from 0 to 1")


_UNDAMAGED = Damage()
_REORDERED_S = 0.01
_IP_HEADER_BYTES = 20


class PacketLink:
    """One direction of a link. The times of successive calls must not decrease.

    Args:
        trace: rate of the link; None means unlimited, without a queue.
        delay_s: time from the moment a packet has been sent to its arrival.
        queue_bytes: bytes that can wait for the link.
        loss: probability that a sent packet is lost.
        seed: seed of the losses and the damage.
        damage: what happens to packets that are not lost.

    Raises:
        InputError: the loss is outside [0, 1), or the seed is negative.
    """

    def __init__(
        self,
        trace: Trace | None,
        delay_s: float,
        queue_bytes: int,
        loss: float = 0.0,
        seed: int = 0,
        damage: Damage = _UNDAMAGED,
    ) -> None:
        if not 0 <= loss < 1:  # also refuses NaN
            raise InputError(f"loss is {loss}: use a share of packets of at least 0 and below 1")
        if seed < 0:
            raise InputError(f"seed is {seed}: use a whole number of at least 0")
        self._trace = trace
        self._delay_s = delay_s
        self._queue_bytes = queue_bytes
        self._loss, self._damage = loss, damage
        self._random = random.Random(seed)
        self._free_at_s = 0.0  # when the last queued packet has left the link
        self._queued: deque[tuple[float, int]] = deque()  # (leaves at, bytes), oldest first
        self._queued_bytes = 0
        self._in_flight: list[tuple[float, int, bytes]] = []  # heap of (arrives at, number, packet)
        self._number = 0
        self._sent = self._dropped = self._lost = 0

    @property
    def next_s(self) -> float:
        """When the next packet arrives; infinity if none is in flight."""
        return self._in_flight[0][0] if self._in_flight else math.inf

    @property
    def counts(self) -> Counts:
        """What happened to all packets so far."""
        return Counts(self._sent, self._dropped, self._lost)

    def put(self, packet: bytes, now_s: float) -> None:
        """Add a packet to the queue, or drop it if the queue has no room."""
        leaves_s = now_s if self._trace is None else self._enqueue(self._trace, len(packet), now_s)
        if leaves_s is None:
            self._dropped += 1
            return
        self._sent += 1
        if self._loss and self._random.random() < self._loss:
            self._lost += 1
            return
        for _ in range(1 + self._chance(self._damage.duplicated)):
            late_s = _REORDERED_S if self._chance(self._damage.reordered) else 0.0
            self._number += 1
            heapq.heappush(self._in_flight, (leaves_s + self._delay_s + late_s, self._number, self._passed(packet)))

    def take(self, now_s: float) -> list[bytes]:
        """Remove and return the packets that have arrived by now, in the order of their arrival."""
        arrived = []
        while self._in_flight and self._in_flight[0][0] <= now_s:
            arrived.append(heapq.heappop(self._in_flight)[2])
        return arrived

    def _chance(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def _passed(self, packet: bytes) -> bytes:
        """The packet as it arrives."""
        if len(packet) <= _IP_HEADER_BYTES or not self._chance(self._damage.corrupted):
            return packet
        changed = bytearray(packet)
        changed[self._random.randrange(_IP_HEADER_BYTES, len(packet))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _enqueue(self, trace: Trace, size_bytes: int, now_s: float) -> float | None:
        """Queue a packet, and return when it will have left the link; None if the queue has no room."""
        while self._queued and self._queued[0][0] <= now_s:
            self._queued_bytes -= self._queued.popleft()[1]
        if self._queued_bytes + size_bytes > self._queue_bytes:
            return None
        self._free_at_s = trace.finish_time(max(now_s, self._free_at_s), size_bytes)
        self._queued.append((self._free_at_s, size_bytes))
        self._queued_bytes += size_bytes
        return self._free_at_s
