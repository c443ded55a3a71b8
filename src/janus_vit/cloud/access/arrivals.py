"""How often each address connects. One that connects again and again without a call that is answered is kept out.

To take a connection and the streams that it brings costs a server more than most calls, and it pays before it knows
who called.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_HALF_LIFE_S = 1.0  # in which the count of arrivals fades by half
_MOST = 32.0  # recent connections of one address that nobody vouches for
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
    """Counts new connections by network. The server's thread counts, the guard's thread reviews."""

    of_networks: dict[str, float] = field(default_factory=dict)
    of_callers: dict[str, float] = field(default_factory=dict)
    bans: dict[str, Ban] = field(default_factory=dict)
    reviewed_s: float = 0.0

    def add(self, network: str, now_s: float) -> bool:
        """Count a new connection. Returns whether its network has to be kept out, and is not yet."""
        _add(self.of_networks, network, 1.0)
        return self.of_networks[network] > _MOST and not self._is_kept_out(network, now_s)

    def vouch(self, network: str, caller: str) -> None:
        """A call of this caller was answered on a new connection, which does not count for its network any more.

        A whole fleet behind one address may connect at once; one device that connects without end may not.
        """
        if self.of_callers.get(caller, 0.0) < _MOST_VOUCHED:
            _add(self.of_callers, caller, 1.0)
            _add(self.of_networks, network, -1.0)

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


def _add(counts: dict[str, float], name: str, change: float) -> None:
    """Change a count, which is never below zero. Forgets all counts before there are too many."""
    if len(counts) >= _MOST_NAMES:
        counts.clear()
    counts[name] = max(0.0, counts.get(name, 0.0) + change)


def _fade(counts: dict[str, float], fading: float) -> None:
    for name, count in list(counts.items()):
        if fading * count < 0.5:
            counts.pop(name, None)
        else:
            counts[name] = fading * count
