"""How much of a cloud one caller may use: open calls, memory and rate. Knows no network; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from janus_vit.errors import Rejected

_MOST_ACCOUNTS = 4_096
_DECODING_IN_A_CALL_S = 1e-3  # a call that takes longer to decode counts as several
REFUSED_CALLS = 4.0  # a call above its caller's limit counts as this many more: it does not wait for answers
INVALID_CALLS = 15.0  # a request that no device sends counts as this many more
_SLACK_S, _SLOWEST_BYTES_PER_S, _LONGEST_S = 2.0, 62_500.0, 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one server process.

    Attributes:
        calls: open calls.
        calls_per_client: open calls of one caller.
        calls_per_s: rate of one caller's calls; it may save up those of one second.
        memory_bytes: messages that arrive or wait, with their decoded frames.
        memory_per_client_bytes: the part of them that one caller may use.
    """

    calls: int
    calls_per_client: int
    calls_per_s: float
    memory_bytes: int
    memory_per_client_bytes: int


class TooManyCalls(Rejected):
    """A caller sends more often than it may."""


@dataclass(slots=True)
class _Account:
    """What one caller uses: open calls, their memory, and the calls that it may begin at once."""

    credit: float
    at_s: float
    calls: int = 0
    memory_bytes: int = 0


class Ledger:
    """What every caller uses now.

    Args:
        limits: limits of this process.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._accounts: dict[str, _Account] = {}
        self._calls = 0
        self._memory_bytes = 0

    def begin(self, name: str, memory_bytes: int, now_s: float) -> None:
        """Reserve what a call needs, before its message is read.

        Args:
            name: name of the caller.
            memory_bytes: message and decoded frame.
            now_s: present time.

        Raises:
            TooManyCalls: the caller sends more often than it may.
            Rejected: it has too many calls open or uses too much memory, or all callers together do.
        """
        limits, account = self._limits, self._account(name, now_s)
        if account.credit < 1:
            raise TooManyCalls(f"{name} may send {limits.calls_per_s:g} calls a second: send fewer")
        account.credit -= 1
        above = self._above(name, account, memory_bytes)
        if above is not None:
            account.credit -= REFUSED_CALLS
            raise Rejected(f"{above}: wait for answers before sending more")
        if self._calls >= limits.calls or self._memory_bytes + memory_bytes > limits.memory_bytes:
            raise Rejected("the cloud has too many requests in flight: try again later")
        account.calls += 1
        account.memory_bytes += memory_bytes
        self._calls += 1
        self._memory_bytes += memory_bytes

    def end(self, name: str, memory_bytes: int) -> None:
        """Give back what `begin` reserved."""
        account = self._accounts[name]
        account.calls -= 1
        account.memory_bytes -= memory_bytes
        self._calls -= 1
        self._memory_bytes -= memory_bytes

    def charge(self, name: str, decode_s: float, more_calls: float) -> None:
        """Count a call as several: one that took long to decode, was refused, or is one that no device sends.

        Args:
            name: name of a caller with an open call.
            decode_s: time that decoding took.
            more_calls: that it counts as for other reasons.
        """
        self._accounts[name].credit -= decode_s / _DECODING_IN_A_CALL_S + more_calls

    def _above(self, name: str, account: _Account, memory_bytes: int) -> str | None:
        """Which of its own limits a caller would exceed with one more call."""
        if account.calls >= self._limits.calls_per_client:
            return f"{name} already has {account.calls} calls open"
        if account.memory_bytes + memory_bytes > self._limits.memory_per_client_bytes:
            return f"{name} already uses {account.memory_bytes:,} bytes"
        return None

    def _account(self, name: str, now_s: float) -> _Account:
        rate = self._limits.calls_per_s
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= _MOST_ACCOUNTS:
                self._forget_idle(now_s)
            account = self._accounts[name] = _Account(rate, now_s)
        account.credit = min(rate, account.credit + rate * (now_s - account.at_s))
        account.at_s = now_s
        return account

    def _forget_idle(self, now_s: float) -> None:
        """Forget callers that have no call open and may begin as many as a new one."""
        rate = self._limits.calls_per_s
        self._accounts = {
            name: account
            for name, account in self._accounts.items()
            if account.calls or account.credit + rate * (now_s - account.at_s) < rate
        }


def receive_limit_s(size_bytes: int) -> float:
    """Longest time that a message may take: two seconds, and what a link of 0.5 Mbit/s needs, at most 10 s."""
    return min(_LONGEST_S, _SLACK_S + size_bytes / _SLOWEST_BYTES_PER_S)
