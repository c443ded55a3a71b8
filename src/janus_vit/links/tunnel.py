"""Emulate a link packet by packet, between this network and a network namespace, with a TUN device on each side.

TCP is the kernel's own, with slow start, loss recovery and senders that fill queues. A relay process reads packets on
one side and writes them on the other at the time that `PacketLink` gives. Headers, acknowledgements and handshakes use
the link as on a real network. Needs Linux and root; IPv4 only. Nothing remains on the machine when a process ends, even
after a crash: see `netns`.
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
from janus_vit.links.packets import Counts, Damage, PacketLink

_ANSWER_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0
_PACKETS_PER_READ = 64  # from one side before the other side is read
_IP_VERSION = 4

_Links = tuple[PacketLink, PacketLink, float]  # up, down, and their zero on time.monotonic()


class Tunnel:
    """A tunnel from this network to a network namespace on the same machine, from construction until close().

    Packets pass at once while no link is open. `open_link` shapes them until that link ends.

    Args:
        spec: the links; their queues hold whole packets, including headers.
        loss: share of packets that a link loses at random in each direction.
        seed: seed of the losses and the damage.
        damage: what a link does to packets that it does not lose.

    Attributes:
        spec: the links.
        host: address in the namespace on which a server listens.
        namespace: path of the namespace, for `netns.enter_namespace`.

    Raises:
        InputError: the machine cannot create a tunnel (see `netns.check_machine`), or loss or seed is out of range.
    """

    def __init__(self, spec: LinkSpec, loss: float = 0.0, seed: int = 0, damage: Damage | None = None) -> None:
        netns.check_machine()
        self.spec = spec
        self._loss, self._seed, self._damage = loss, seed, damage or Damage()
        self._new_links()  # refuses an invalid loss or seed now
        context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
        self._pipe, relay_pipe = context.Pipe()
        self._relay = context.Process(target=_run_relay, args=(relay_pipe,), name="janus-relay", daemon=True)
        self._relay.start()
        relay_pipe.close()
        self.namespace = f"/proc/{self._relay.pid}/ns/net"
        try:
            self.host: str = self._receive()
        except BaseException:
            self.close()
            raise

    def open_link(self, port: int) -> TunnelledLink:
        """Open a link to a port in the namespace. Its trace starts now. Only one link can be open at a time."""
        return TunnelledLink(self, port)

    def start_shaping(self) -> float:
        """Start to shape packets, with the trace and the losses at their beginning, and empty queues.

        Also clears the kernel's TCP metrics, so that every link starts in the same state.

        Returns:
            The time at which the trace started, on time.monotonic().

        Raises:
            InputError: the relay process has ended.
        """
        netns.forget_metrics(self.host)
        start_s = time.monotonic()  # the same clock in all processes of a machine
        self._command((*self._new_links(), start_s))
        return start_s

    def stop_shaping(self) -> None:
        """Let packets pass at once.

        Raises:
            InputError: the relay process has ended.
        """
        self._command((*_unlimited_links(), time.monotonic()))

    def counts(self) -> tuple[Counts, Counts]:
        """Return what happened to the packets up and down since the last `start_shaping`.

        Raises:
            InputError: the relay process has ended.
        """
        return self._command(None)

    def close(self) -> None:
        """Remove the tunnel. A second call does nothing."""
        self._pipe.close()  # ends the relay
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

    def _new_links(self) -> tuple[PacketLink, PacketLink]:
        """Return a link for each direction, up and down, with independent losses."""
        spec = self.spec
        up = PacketLink(spec.up, spec.delay_s, spec.queue_bytes, self._loss, self._seed, self._damage)
        return up, PacketLink(spec.down, spec.delay_s, spec.queue_bytes, self._loss, self._seed + 1, self._damage)

    def _command(self, links: _Links | None) -> tuple[Counts, Counts]:
        """Make the relay use these links, or keep its links for None, and return the counts of its last links."""
        with contextlib.suppress(OSError):  # _receive raises the error
            self._pipe.send(links)
        counts: tuple[Counts, Counts] = self._receive()
        return counts

    def _receive(self) -> Any:
        answer = None
        with contextlib.suppress(EOFError, OSError):
            answer = self._pipe.recv() if self._pipe.poll(_ANSWER_TIMEOUT_S) else None
        if isinstance(answer, OSError):
            raise InputError(f"cannot create a tunnel ({answer}): in a container, allow NET_ADMIN and SYS_ADMIN")
        if answer is None:
            raise InputError("the tunnel's relay has ended or hangs: start the tunnel again")
        return answer


class TunnelledLink:
    """An open link over a tunnel. A client that connects to `address` reaches the port in the namespace.

    The link and its trace run from construction until the end of the `with` block.

    Args:
        tunnel: the tunnel that carries the packets.
        port: port of the server in the tunnel's namespace.
    """

    def __init__(self, tunnel: Tunnel, port: int) -> None:
        self._tunnel = tunnel
        self.host = tunnel.host
        self.port = port
        self._start_s = tunnel.start_shaping()

    @property
    def address(self) -> str:
        """The `host:port` to which clients connect."""
        return f"{self.host}:{self.port}"

    @property
    def elapsed_s(self) -> float:
        """Seconds since the trace began. The trace repeats at its end."""
        return time.monotonic() - self._start_s

    def rate_mbps(self) -> float:
        """Return the uplink's true rate now, in Mbps."""
        return self._tunnel.spec.up.rate_at(self.elapsed_s)

    def __enter__(self) -> TunnelledLink:
        return self

    def __exit__(self, *_: object) -> None:
        self._tunnel.stop_shaping()


def _unlimited_links() -> tuple[PacketLink, PacketLink]:
    """Return links for both directions that pass every packet at once."""
    return PacketLink(None, 0.0, 0), PacketLink(None, 0.0, 0)


def _run_relay(control: Connection) -> None:
    """Run the relay process: create both devices, then relay packets until the other end of `control` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the closed pipe ends us
    try:
        near, far, host = _create_devices()
    except OSError as error:
        control.send(error)
        return
    # Run before the model's threads: the link stalls while the relay waits for a core. It sleeps most of the time.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with contextlib.suppress(EOFError, OSError):  # the parent has closed the pipe
        control.send(host)
        _relay_packets(control, near, far)


def _create_devices() -> tuple[int, int, str]:
    """Create a device in this namespace and one in a new namespace, in which this process stays.

    Returns:
        Descriptor of the near device, descriptor of the far device, and the far address.
    """
    near, name, number = netns.open_free_tun(os.getpid())
    here, there = netns.addresses(number)
    netns.configure(name, here, there)
    netns.leave_namespace()
    far = netns.open_tun(name)
    netns.configure(name, there, here)
    return near, far, there


def _relay_packets(control: Connection, near: int, far: int) -> None:
    (up, down), start_s = _unlimited_links(), time.monotonic()
    while True:
        wait_s = max(0.0, min(up.next_s, down.next_s) + start_s - time.monotonic())
        # select has microsecond timeouts, poll and epoll only milliseconds
        ready, _, _ = select.select([near, far, control.fileno()], [], [], wait_s if wait_s < math.inf else None)
        if control.fileno() in ready:
            links: _Links | None = control.recv()
            control.send((up.counts, down.counts))
            if links is not None:
                up, down, start_s = links
        for source, link, target in ((near, up, far), (far, down, near)):
            if source in ready:
                _read_packets(source, link, start_s)
            for packet in link.take(time.monotonic() - start_s):
                os.write(target, packet)


def _read_packets(source: int, link: PacketLink, start_s: float) -> None:
    with contextlib.suppress(BlockingIOError):
        for _ in range(_PACKETS_PER_READ):
            packet = os.read(source, netns.MTU_BYTES)
            if packet[0] >> 4 == _IP_VERSION:  # ignore the kernel's IPv6 neighbour discovery
                link.put(packet, time.monotonic() - start_s)
