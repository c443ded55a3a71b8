"""A link whose packets we carry: the far side lives in a network namespace of its own, joined by two TUN devices.

Everything above the packets is the kernel's own TCP: slow start, loss recovery, queues that senders fill. A relay, in a
process of its own, reads packets on either side and writes them on the other when `PacketLink` says that they come out.
Headers, acknowledgements and handshakes use the link, as they do in life. Needs Linux and root; IPv4 only. Nothing is
left behind, whichever process ends first and however: see `netns`.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import select
import signal
import time
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from janus_vit.errors import InputError
from janus_vit.links import netns
from janus_vit.links.emulator import LinkSpec
from janus_vit.links.packets import Counts, PacketLink

_ANSWER_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0
_READ_AT_ONCE = 64  # packets of one side, before the other's turn comes
_IPV4 = 4

_Order = tuple[PacketLink, PacketLink, float]  # up, down, and when their time begins; to the relay


class Tunnel:
    """A far side on this machine, and the packets between it and us, from construction to close.

    Packets pass as they come, until `open_link` makes them obey the link; they do again when that link ends.

    Args:
        spec: what links are like; their queues hold whole packets, headers included.
        loss: share of packets that a link loses in each direction, at random. seed: of those losses.

    Attributes:
        host: address to listen on over there. namespace: path of the far side's network namespace, for
            `netns.enter_namespace`: whoever is to be reached over the link listens in it.

    Raises:
        InputError: no Linux, no root, no /dev/net/tun, no `ip`, or a loss or seed that cannot be.
    """

    def __init__(self, spec: LinkSpec, loss: float = 0.0, seed: int = 0) -> None:
        netns.check_machine()
        self.spec = spec
        self._loss, self._seed = loss, seed
        self._ways()  # a loss that cannot be is told now
        context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
        self._pipe, theirs = context.Pipe()
        self._relay = context.Process(target=_relay, args=(theirs,), name="janus-relay", daemon=True)
        self._relay.start()
        theirs.close()
        self.namespace = f"/proc/{self._relay.pid}/ns/net"
        try:
            self.host: str = self._answer()
        except BaseException:
            self.close()
            raise

    def open_link(self, port: int) -> TunnelledLink:
        """A link to whoever listens on that port over there, at the beginning of its trace. One at a time."""
        return TunnelledLink(self, port)

    def begin(self) -> float:
        """Shape packets from now on: the trace and the losses begin, with empty queues; the time.monotonic() of it.

        TCP forgets what it learned of the way. Raises InputError if the relay has ended, as do the next two.
        """
        netns.forget_metrics(self.host)
        start_s = time.monotonic()  # one clock for all processes of a machine
        self._ask((*self._ways(), start_s))
        return start_s

    def end(self) -> None:
        """Let packets pass as they come."""
        self._ask((*_open(), time.monotonic()))

    def counts(self) -> tuple[Counts, Counts]:
        """What became of the packets up and down since `begin`."""
        return self._ask(None)

    def close(self) -> None:
        """Remove it all. A second call does nothing."""
        self._pipe.close()  # the relay sees this
        self._relay.join(_STOP_TIMEOUT_S)
        if self._relay.is_alive():
            self._relay.kill()
            self._relay.join()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ways(self) -> tuple[PacketLink, PacketLink]:
        """Up and down, with losses of their own."""
        spec = self.spec
        up = PacketLink(spec.up, spec.delay_s, spec.queue_bytes, self._loss, self._seed)
        return up, PacketLink(spec.down, spec.delay_s, spec.queue_bytes, self._loss, self._seed + 1)

    def _ask(self, order: _Order | None) -> tuple[Counts, Counts]:
        with contextlib.suppress(OSError):  # _answer tells
            self._pipe.send(order)
        counts: tuple[Counts, Counts] = self._answer()
        return counts

    def _answer(self) -> Any:
        answer = None
        with contextlib.suppress(EOFError, OSError):
            answer = self._pipe.recv() if self._pipe.poll(_ANSWER_TIMEOUT_S) else None
        if isinstance(answer, OSError):
            raise InputError(f"no tunnel can be made ({answer}): in a container, allow NET_ADMIN and SYS_ADMIN")
        if answer is None:
            raise InputError("the tunnel's relay has ended or hangs: start the tunnel anew")
        return answer


class TunnelledLink:
    """One run over a tunnel, from the link's beginning: whoever connects to `address` talks to the far side.

    It and its trace run from construction to the end of the `with` block.
    """

    def __init__(self, tunnel: Tunnel, port: int) -> None:
        self._tunnel = tunnel
        self.host = tunnel.host
        self.port = port
        self._start_s = tunnel.begin()

    @property
    def address(self) -> str:
        """host:port to connect to."""
        return f"{self.host}:{self.port}"

    @property
    def elapsed_s(self) -> float:
        """Position in the (looping) trace."""
        return time.monotonic() - self._start_s

    def rate_mbps(self) -> float:
        """The uplink's true rate now."""
        return self._tunnel.spec.up.rate_at(self.elapsed_s)

    def __enter__(self) -> TunnelledLink:
        return self

    def __exit__(self, *_: object) -> None:
        self._tunnel.end()


def _open() -> tuple[PacketLink, PacketLink]:
    """No link at all."""
    return PacketLink(None, 0.0, 0), PacketLink(None, 0.0, 0)


def _relay(control: Connection) -> None:
    """The relay's process: makes both sides, then carries packets until the other end of `control` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; our end is the pipe's
    try:
        near, far, host = _make_sides()
    except OSError as error:
        control.send(error)
        return
    # Ahead of the model's threads: a relay that waits for a core is a link that stalls. It sleeps most of the time.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with contextlib.suppress(EOFError, OSError):  # whoever asked is gone
        control.send(host)
        _carry(control, near, far)


def _make_sides() -> tuple[int, int, str]:
    """Descriptors of the near device, in the namespace that we leave, and of the far one; the far address."""
    near, name, number = netns.open_free_tun(os.getpid())
    here, there = netns.addresses(number)
    netns.configure(name, here, there)
    netns.leave_namespace()
    far = netns.open_tun(name)
    netns.configure(name, there, here)
    return near, far, there


def _carry(control: Connection, near: int, far: int) -> None:
    (up, down), start_s = _open(), time.monotonic()
    while True:
        wait_s = max(0.0, min(up.next_s, down.next_s) + start_s - time.monotonic())
        # select takes microseconds where poll and epoll take whole milliseconds
        ready, _, _ = select.select([near, far, control.fileno()], [], [], wait_s if wait_s < math.inf else None)
        if control.fileno() in ready:
            order: _Order | None = control.recv()
            control.send((up.counts, down.counts))
            if order is not None:
                up, down, start_s = order
        for source, way, target in ((near, up, far), (far, down, near)):
            if source in ready:
                _read(source, way, start_s)
            for packet in way.take(time.monotonic() - start_s):
                os.write(target, packet)


def _read(source: int, way: PacketLink, start_s: float) -> None:
    with contextlib.suppress(BlockingIOError):
        for _ in range(_READ_AT_ONCE):
            packet = os.read(source, netns.MTU_BYTES)
            if packet[0] >> 4 == _IPV4:  # not what IPv6 tells its neighbours
                way.put(packet, time.monotonic() - start_s)
