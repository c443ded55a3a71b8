"""The device's probes of the link: at most one is on its way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from janus_vit.planning.outcome import Transfer
from janus_vit.runtime.known_load import KnownLoad
from janus_vit.runtime.transport import Probed, Transport


class Probes:
    """Starts probes, and takes their results.

    Args:
        transport: carries them.
        load: learns the load that a probe reports.
        timeout_s: how long to wait for a probe.
        note: called with one sentence if the reply to a probe cannot be right.

    Attributes:
        last_s: when the last probe was sent; None before the first one.
    """

    def __init__(self, transport: Transport, load: KnownLoad, timeout_s: float, note: Callable[[str], None]) -> None:
        self._transport = transport
        self._load = load
        self._timeout_s = timeout_s
        self._note = note
        self._running: Future[Probed] | None = None
        self.last_s: float | None = None

    def start(self, size_bytes: int, now_s: float) -> None:
        """Send the probe that a decision asks for, unless another one is still on its way."""
        if size_bytes and self._running is None:
            self.last_s = now_s
            self._running = self._transport.probe(size_bytes, self._timeout_s)

    def finished(self) -> Probed | None:
        """The probe that has ended, if any. The load that it reports counts from now on."""
        if self._running is None or not self._running.done():
            return None
        probed = self._running.result()
        if probed.load is not None:
            self._load.learn(probed.load.expected_wait_s, probed.load.price, probed.transfer.at_s)
        return probed

    def take_finished(self) -> tuple[Transfer, ...]:
        """The transfer of the probe that has ended, if any; then another probe may start."""
        probed = self.finished()
        if probed is None:
            return ()
        self._running = None
        if probed.refused is not None:
            self._note(f"probe: {probed.refused}")
        return (probed.transfer,)
