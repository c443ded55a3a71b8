"""Admits the calls of one server process: who calls, what the call may use, and what happens to those who ask for more.

Each call takes a few microseconds here. Knows no model and no message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from janus_vit.cloud.access.callers import Caller, network_of, split_peer
from janus_vit.cloud.access.limits import INVALID_CALLS, REFUSED_CALLS, Ledger, TooManyCalls, receive_limit_s
from janus_vit.cloud.access.roster import Roster
from janus_vit.cloud.access.settings import Gate
from janus_vit.errors import Overloaded, Rejected, Unauthenticated, WireError
from janus_vit.wire.rpc import MESSAGE_BYTES


@dataclass(slots=True)
class Visit:
    """An admitted call.

    Attributes:
        caller: who makes it.
        size_bytes: size of its message, as announced; it may not be larger.
        decode_s: set to the time that decoding took.
    """

    caller: Caller
    size_bytes: int
    decode_s: float = 0.0

    @property
    def receive_limit_s(self) -> float:
        """Longest time that the message may take to arrive."""
        return receive_limit_s(self.size_bytes)


class Door:
    """Admits calls.

    Args:
        gate: identifies callers.
        ledger: what each of them uses.
        strangers: what callers use that need not prove who they are; they take nothing from the others.
        roster: what is known of each connection.
        stream_bytes: largest message that gRPC lets in, whatever was announced; also that of a decoded frame.
        on_offence: called when a connection has to go.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        gate: Gate,
        ledger: Ledger,
        strangers: Ledger,
        roster: Roster,
        stream_bytes: int,
        on_offence: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate = gate
        self._ledger = ledger
        self._strangers = strangers
        self._roster = roster
        self._stream_bytes = stream_bytes
        self._on_offence = on_offence
        self._now = now

    @contextmanager
    def enter(self, context: Any, largest_bytes: int, known: bool = True) -> Iterator[Visit]:
        """Admit a call; what it uses is given back when the block ends.

        Args:
            context: gRPC's context of the call.
            largest_bytes: largest message of its method; a call that does not announce a size may send this much.
            known: whether the caller has to prove who it is, if the cloud asks for that. A call of others reserves its
                message alone.

        Raises:
            Unauthenticated: the caller is unknown.
            Rejected: the caller uses too much already.
            WireError: the announced size is impossible.
        """
        peer = split_peer(context.peer())
        headers = dict(context.invocation_metadata() or ())
        offender = network_of(peer[0])
        now_s = self._now()
        self._roster.meet(peer, now_s)
        ledger, stream_bytes = (self._ledger, self._stream_bytes) if known else (self._strangers, 0)
        try:
            caller = self._gate.identify(context, headers.get("authorization"), known)
            offender = caller.name
            size_bytes = _announced(headers.get(MESSAGE_BYTES), largest_bytes)
            memory_bytes = 2 * size_bytes + stream_bytes
            ledger.begin(caller.name, memory_bytes, now_s)
        except (Unauthenticated, TooManyCalls, WireError):
            self._strike(peer, offender, now_s)
            raise
        if known:
            self._roster.admit(peer, caller, now_s)
        visit, more_calls = Visit(caller, size_bytes), 0.0
        try:
            yield visit
            self._roster.answer(peer, caller)
        except WireError:
            more_calls = INVALID_CALLS
            self._strike(peer, offender, now_s)
            raise
        except Overloaded:  # it happens to well-behaved devices
            raise
        except Rejected:
            more_calls = REFUSED_CALLS
            raise
        finally:
            ledger.charge(caller.name, visit.decode_s, more_calls)
            ledger.end(caller.name, memory_bytes)

    def held_s(self, context: Any) -> float:
        """How long to wait before a caller is told that its call was refused."""
        return self._roster.held_s(split_peer(context.peer()))

    def _strike(self, peer: tuple[str, int], offender: str, now_s: float) -> None:
        if self._roster.strike(peer, offender, now_s):
            self._on_offence()


def _announced(text: object, largest_bytes: int) -> int:
    """Size of a message by the call's metadata.

    Raises:
        WireError: it is no size that a message of this method can have.
    """
    if text is None:
        return largest_bytes
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 12):
        raise WireError(f"metadata {MESSAGE_BYTES} is {str(text)[:40]!r}, expected a number of bytes")
    size_bytes = int(text)
    if size_bytes > largest_bytes:
        raise WireError(f"metadata {MESSAGE_BYTES} is {size_bytes}, expected at most {largest_bytes}")
    return size_bytes
