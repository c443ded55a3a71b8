"""How often each address connects in vain. One that does so again and again is kept out.

To take a connection and the streams that it brings costs a server more than most calls, and it pays before it knows
who called. A connection does not count when it comes: after a restart, all devices of a fleet connect to the server at
the same moment, perhaps from one address, and none of them has an answer yet. gRPC connects again by itself, also for a
device that calls only some seconds later, so a connection without any call counts little.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_HALF_LIFE_S = 1.0  # in which the counts fade by half
_MOST = 32.0  # recent connections of one address that were of no use
_SILENT = 0.125  # what a connection without any call counts: it costs the server less, too
_MOST_VOUCHED = 8.0  # recent connections that one caller can vouch for
_FIRST_S, _LONGEST_S = 5.0, 60.0  # how long an address is kept out: doubled each time, until it was quiet as long
_MOST_NAMES = 4_096


@dataclass(frozen=True, slots=True)
class Ban:
    """How long an address is kept out.

    Attributes:
        until_s: end of it, on the server's clock.
        length_s: its length.
    """

    until_s: float
    length_s: float


@dataclass(slots=True)
class Arrivals:
    """Counts connections of no use by network. Both the server's thread and the guard's count, the latter reviews."""

    of_networks: dict[str, float] = field(default_factory=dict)
    of_callers: dict[str, float] = field(default_factory=dict)
    bans: dict[str, Ban] = field(default_factory=dict)
    reviewed_s: float = 0.0

    def add(self, network: str, called: bool) -> None:
        """Count a connection of this network that was of no use.

        Args:
            network: where it comes from.
            called: whether any call came on it.
        """
        _add(self.of_networks, network, 1.0 if called else _SILENT)

    def vouches(self, caller: str) -> bool:
        """A call of this caller was answered on a new connection. Returns whether that makes the connection useful.

        A whole fleet behind one address may connect at once; one device that connects without end may not.
        """
        if self.of_callers.get(caller, 0.0) >= _MOST_VOUCHED:
            return False
        _add(self.of_callers, caller, 1.0)
        return True

    def review(self, now_s: float) -> dict[str, Ban]:
        """Let the counts fade, and return the networks that are kept out."""
        for network, count in list(self.of_networks.items()):
            if count > _MOST and not self._is_kept_out(network, now_s):
                self._ban(network, now_s)
        fading = 0.5 ** ((now_s - self.reviewed_s) / _HALF_LIFE_S)
        self.reviewed_s = now_s
        _fade(self.of_networks, fading)
        _fade(self.of_callers, fading)
        self.bans = {name: ban for name, ban in self.bans.items() if now_s < ban.until_s + ban.length_s}
        return {name: ban for name, ban in self.bans.items() if now_s < ban.until_s}

    def _ban(self, network: str, now_s: float) -> None:
        last = self.bans.get(network)
        length_s = _FIRST_S if last is None else min(2 * last.length_s, _LONGEST_S)
        self.bans[network] = Ban(now_s + length_s, length_s)
        self.of_networks.pop(network, None)

    def _is_kept_out(self, network: str, now_s: float) -> bool:
        ban = self.bans.get(network)
        return ban is not None and now_s < ban.until_s


def _add(counts: dict[str, float], name: str, weight: float) -> None:
    """Count one more. Forgets all counts before there are too many."""
    if len(counts) >= _MOST_NAMES:
        counts.clear()
    counts[name] = counts.get(name, 0.0) + weight


def _fade(counts: dict[str, float], fading: float) -> None:
    for name, count in list(counts.items()):
        if fading * count < _SILENT / 2:
            counts.pop(name, None)
        else:
            counts[name] = fading * count
