"""What a server knows of its connections, and which of them it keeps. Plain data: no sockets, no calls, no messages."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from janus_vit.cloud.access.arrivals import Arrivals
from janus_vit.cloud.access.callers import Caller, network_of

Peer: TypeAlias = tuple[str, int]  # address and port
PATROL_S = 0.25  # longest time between two reviews
_FADES_S = 0.25  # in which strikes fade by half
_SETTLING_S = 1.0  # a fleet behind one address may connect at once, and then has this long to call
_STRIKES = 64.0  # that a connection may have; see `_FADES_S`
_BOXED_S = 5.0  # after too many strikes, each further one ends the connection
_STRIKES_HELD = 16.0  # recent strikes of an offender after which refusals are told late
_HELD_S = (2.0, 6.0)  # how late: at different times, so that those who wait do not come back together
_MOST_OFFENDERS = 4_096


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections a server process keeps.

    Attributes:
        total: connections.
        per_client: connections of one caller.
        strangers: connections from one address that have not made a call which was admitted within their first second.
        stranger_s: time after which such a connection is cut. It is also the time after which one that a caller has
            too many is cut: who is cut at once connects again at once, which costs more than a connection that stays.
    """

    total: int
    per_client: int
    strangers: int = 64
    stranger_s: float = 5.0


@dataclass(slots=True)
class Seen:
    """What is known of a connection.

    Attributes:
        first_s: when it was first seen.
        caller: who made its last admitted call; None is a stranger.
        last_s: when that call began.
        called: whether a call came.
        answered: whether a call was answered.
        counted: whether the connection counts as one of no use.
        strikes: recent calls that were refused.
        offender: who made the last one of them.
        doomed: whether it has to go.
    """

    first_s: float
    caller: Caller | None = None
    last_s: float = 0.0
    called: bool = False
    answered: bool = False
    counted: bool = False
    strikes: float = 0.0
    offender: str | None = None
    doomed: bool = False


@dataclass(slots=True)
class Roster:
    """What is known of each connection. The server's thread writes, the guard's thread reads and forgets."""

    known: dict[Peer, Seen] = field(default_factory=dict)
    strikes: dict[str, float] = field(default_factory=dict)
    boxed_until_s: dict[str, float] = field(default_factory=dict)
    arrivals: Arrivals = field(default_factory=Arrivals)
    reviewed_s: float = 0.0

    def meet(self, peer: Peer, now_s: float) -> None:
        """A call came on this connection."""
        self._seen(peer, now_s).called = True

    def admit(self, peer: Peer, caller: Caller, now_s: float) -> None:
        """A call of this caller was admitted on this connection."""
        seen = self._seen(peer, now_s)
        seen.caller, seen.last_s = caller, now_s

    def answer(self, peer: Peer, caller: Caller) -> None:
        """A call of this caller was answered on this connection."""
        seen = self.known.get(peer)
        if seen is not None and not seen.answered:
            seen.answered = True
            if not self.arrivals.vouches(caller.name):
                self._count(peer, seen)

    def strike(self, peer: Peer, offender: str, now_s: float) -> bool:
        """A call was refused that no well-behaved device makes. Returns whether the connection has to go.

        Args:
            peer: the connection.
            offender: name of the caller, or the network of a stranger.
            now_s: present time.
        """
        seen = self._seen(peer, now_s)
        seen.strikes += 1
        seen.offender = offender
        _make_room(self.strikes)
        self.strikes[offender] = self.strikes.get(offender, 0.0) + 1
        boxed = self.boxed_until_s.get(offender, 0.0) > now_s
        if seen.strikes > _STRIKES or boxed:
            _make_room(self.boxed_until_s)
            self.boxed_until_s[offender] = now_s + _BOXED_S
            seen.doomed = True
        return seen.doomed

    def held_s(self, peer: Peer) -> float:
        """How long the refusal of a call on this connection waits: who is refused again and again has to wait.

        A caller that waits for answers has a few calls open on each connection, and cannot make more of them meanwhile.
        """
        seen = self.known.get(peer)
        offender = None if seen is None else seen.offender
        if offender is None or self.strikes.get(offender, 0.0) <= _STRIKES_HELD:
            return 0.0
        return random.uniform(*_HELD_S)

    def review(self, peers: Sequence[Peer], now_s: float) -> dict[Peer, Seen]:
        """Forget connections that are closed, let strikes fade, and return the present ones.

        Args:
            peers: all connections that are open.
            now_s: when they were listed; connections that came later are not missed yet.
        """
        present = {peer: self._seen(peer, now_s) for peer in peers}
        fading = 0.5 ** ((now_s - self.reviewed_s) / _FADES_S)
        self.reviewed_s = now_s
        self.strikes = {name: fading * count for name, count in list(self.strikes.items()) if fading * count > 0.5}
        for peer, seen in list(self.known.items()):
            seen.strikes *= fading
            is_open = peer in present or seen.first_s >= now_s
            is_waiting = seen.called and now_s - seen.first_s > _SETTLING_S
            if not seen.answered and (is_waiting or not is_open):
                self._count(peer, seen)
            if not is_open and now_s - max(seen.first_s, seen.last_s) > 4 * PATROL_S:
                self.known.pop(peer, None)
        return present

    def _count(self, peer: Peer, seen: Seen) -> None:
        """Count a connection of no use, once."""
        if not seen.counted:
            seen.counted = True
            self.arrivals.add(network_of(peer[0]), seen.called)

    def _seen(self, peer: Peer, now_s: float) -> Seen:
        return self.known.setdefault(peer, Seen(now_s))


def _make_room(offenders: dict[str, float]) -> None:
    """Forget all offenders before there are too many."""
    if len(offenders) >= _MOST_OFFENDERS:
        offenders.clear()


def to_cut(present: Mapping[Peer, Seen], limits: ConnectionLimits, now_s: float) -> list[Peer]:
    """Connections that have to go: doomed, silent, or too many, oldest first; strangers before callers.

    Args:
        present: open connections.
        limits: how many may stay.
        now_s: present time.
    """
    gone = {
        peer: None
        for peer, seen in present.items()
        if seen.doomed or (seen.caller is None and now_s - seen.first_s > limits.stranger_s)
    }
    held: Counter[str] = Counter()
    kept = 0
    by_worth = sorted(
        (peer for peer in present if peer not in gone), key=lambda peer: _worth(present[peer]), reverse=True
    )
    for peer in by_worth:
        caller, age_s = present[peer].caller, now_s - present[peer].first_s
        holder, most = (network_of(peer[0]), limits.strangers) if caller is None else (caller.name, limits.per_client)
        held[holder] += caller is not None or age_s > _SETTLING_S
        kept += 1
        is_surplus = held[holder] > most and (caller is None or age_s > limits.stranger_s)
        if is_surplus or kept > limits.total:
            gone[peer] = None
            kept -= 1
    return list(gone)


def _worth(seen: Seen) -> tuple[bool, bool, float]:
    """Order in which connections are kept: proven callers, other callers, strangers; the last active ones first."""
    caller = seen.caller
    return caller is not None and caller.proven, caller is not None, max(seen.first_s, seen.last_s)
