"""Which clients take more than their fair share of a busy engine. Numbers only; time is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MEMORY_S, _SHORT_MEMORY_S = 0.5, 0.1  # of the use of the engine
_FORGOTTEN_S = 5.0  # a client that has asked for nothing for so long has no share
_LOOK_S = 0.1  # how often the shares of all clients are added up
_BUSY = 0.5  # share of its time from which on an engine is busy
_MOST, _EQUAL_SHARES = 0.5, 4.0  # a client is greedy above half of the engine, or above four equal shares
_MOST_IN_SHORT = 0.6  # or above this part of the last moments, since a flood must not keep others waiting until then


@dataclass(slots=True)
class _Account:
    """What one client uses.

    Attributes:
        used: share of the engine's time, as of `at_s`; older use counts less.
        used_lately: the same, with a short memory.
        at_s: time of the last change.
        asked_s: when it last asked for something.
    """

    used: float
    used_lately: float
    at_s: float
    asked_s: float

    def share(self, now_s: float) -> float:
        """Share of the engine's time."""
        return self.used * math.exp((self.at_s - now_s) / _MEMORY_S)

    def share_lately(self, now_s: float) -> float:
        """Share of the engine's time in the last moments."""
        return self.used_lately * math.exp((self.at_s - now_s) / _SHORT_MEMORY_S)

    def use(self, engine_s: float, now_s: float) -> None:
        """Count a use of the engine that ends now."""
        self.used = self.share(now_s) + engine_s / _MEMORY_S
        self.used_lately = self.share_lately(now_s) + 1 - math.exp(-engine_s / _SHORT_MEMORY_S)
        self.at_s = now_s


class EngineShares:
    """Counts the engine's time by client."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._looked_s = -math.inf
        self._used = 0.0  # by all clients

    def asks(self, client: str, now_s: float) -> None:
        """A client asks for something, whether it gets it or not."""
        self._account(client, now_s).asked_s = now_s

    def used(self, client: str, engine_s: float, now_s: float) -> None:
        """A client has used so many seconds of the engine."""
        self._account(client, now_s).use(engine_s, now_s)

    def greed(self, client: str, frame_s: float, now_s: float, waits_already: bool = False) -> float:
        """How much later than others a client is served that takes much more of a busy engine.

        One frame does not count: among many clients, it alone may exceed four equal shares of the last moments.

        Args:
            client: asks for a frame.
            frame_s: seconds of the engine that such a frame takes.
            now_s: current time.
            waits_already: whether its last frame waits or runs still, on an engine that runs frames one by one.

        Returns:
            0 for a client that takes its turn with others; otherwise 1 and its share of the engine.
        """
        self._look(now_s)
        account = self._accounts.get(client)
        if len(self._accounts) < 2 or account is None:
            return 0.0
        share, most = account.share(now_s), min(_MOST, _EQUAL_SHARES / len(self._accounts))
        is_above = share - frame_s / _MEMORY_S > most
        is_greedy = account.share_lately(now_s) > _MOST_IN_SHORT or (self._used >= _BUSY and is_above)
        return 1 + share if is_greedy or waits_already else 0.0

    def _account(self, client: str, now_s: float) -> _Account:
        return self._accounts.setdefault(client, _Account(0.0, 0.0, now_s, now_s))

    def _look(self, now_s: float) -> None:
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        self._accounts = {
            client: account for client, account in self._accounts.items() if now_s - account.asked_s < _FORGOTTEN_S
        }
        self._used = sum(account.share(now_s) for account in self._accounts.values())
