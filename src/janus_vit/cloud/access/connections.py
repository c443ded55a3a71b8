"""The sockets of a server. gRPC has no limits by address, so connections are counted and cut beside it (Linux)."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from janus_vit.cloud.access import syn_filter
from janus_vit.cloud.access.arrivals import Ban
from janus_vit.cloud.access.roster import PATROL_S, ConnectionLimits, Peer, Roster, to_cut

_LOG = logging.getLogger("janus_vit.cloud")
_NO_FILTER = "a firewall should drop its connections, since this system has no filters for sockets"
_FILES = "/proc/self/fd"
_MOST_FILES, _OWN_FILES = 65_536, 128


class Sockets:
    """The open connections of one port of this process, by the list of its files.

    Args:
        port: the server's port.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._files: dict[str, tuple[str, Peer | None]] = {}  # number: identity of the file, peer

    def peers(self) -> dict[Peer, int]:
        """Each connection with the number of its file.

        Raises:
            OSError: the files cannot be listed, since the process has no file left for the list.
        """
        files = {}
        for name in os.listdir(_FILES):
            with suppress(OSError):  # not connected, closed meanwhile, or no file left: the next patrol asks again
                target = os.readlink(f"{_FILES}/{name}")
                if target.startswith("socket:"):
                    known = self._files.get(name)
                    files[name] = known if known and known[0] == target else (target, self._peer(int(name)))
        self._files = files
        return {peer: int(name) for name, (_, peer) in files.items() if peer is not None}

    def listeners(self) -> Iterator[socket.socket]:
        """Copies of the sockets that take the port's connections; each is closed after its turn.

        Raises:
            OSError: see `peers`.
        """
        for name in os.listdir(_FILES):
            try:
                sock = _copy_of(int(name))
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise
                continue  # no socket, or closed meanwhile
            with sock:
                if self._is_ours(sock) and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    yield sock

    def cut(self, peer: Peer, number: int) -> None:
        """Close a connection, unless its file has become another one."""
        with suppress(OSError), _copy_of(number) as sock:
            if self._peer_of(sock) == peer:
                sock.shutdown(socket.SHUT_RDWR)

    def _peer(self, number: int) -> Peer | None:
        with _copy_of(number) as sock:
            return self._peer_of(sock)

    def _peer_of(self, sock: socket.socket) -> Peer | None:
        if not self._is_ours(sock):
            return None
        host, port, *_ = sock.getpeername()
        return plain_address(host), port

    def _is_ours(self, sock: socket.socket) -> bool:
        return sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getsockname()[1] == self._port


def _copy_of(number: int) -> socket.socket:
    """A copy of the socket with this file number.

    Raises:
        OSError: the file is no socket or closed, or the process has no file left for the copy.
    """
    copy = os.dup(number)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def plain_address(host: str) -> str:
    """An address without its scope, and an IPv4 address without its IPv6 form."""
    host = host.partition("%")[0]
    if not host.startswith("::ffff:"):
        return host
    mapped = ipaddress.IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)


class ConnectionGuard:
    """Cuts connections in a thread of its own, until it is closed.

    Args:
        port: the server's port.
        roster: what is known of its connections.
        limits: how many may stay.
        now: the clock, in seconds.
    """

    def __init__(
        self, port: int, roster: Roster, limits: ConnectionLimits, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._sockets = Sockets(port)
        self._roster = roster
        self._limits = limits
        self._now = now
        self._wake = threading.Event()
        self._kept_out: list[str] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="janus-guard", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look now, because a connection has to go."""
        self._wake.set()

    def close(self) -> None:
        """Stop."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(PATROL_S)
            self._wake.clear()
            with suppress(OSError):  # the process has no file left: the next patrol may find one
                self._patrol()

    def _patrol(self) -> None:
        now_s = self._now()
        numbers = self._sockets.peers()
        for peer in to_cut(self._roster.review(list(numbers), now_s), self._limits, now_s):
            self._sockets.cut(peer, numbers[peer])
        self._keep_out(self._roster.arrivals.review(now_s))

    def _keep_out(self, bans: Mapping[str, Ban]) -> None:
        """Have the kernel drop new connections from the networks with these bans, and tell of new ones."""
        networks = sorted(bans, key=lambda network: bans[network].until_s, reverse=True)[: syn_filter.MOST_NETWORKS]
        if networks == self._kept_out:
            return
        are_dropped = all(_drops(listener, networks) for listener in self._sockets.listeners())
        for network in set(networks) - set(self._kept_out):
            measure = f"its new connections are dropped for {bans[network].length_s:g} s"
            _LOG.warning("%s connects too often: %s", network, measure if are_dropped else _NO_FILTER)
        self._kept_out = networks


def _drops(listener: socket.socket, networks: Sequence[str]) -> bool:
    """Whether the kernel takes a filter of these networks for a socket; not every system has such filters."""
    try:
        syn_filter.attach(listener, networks)
    except OSError:
        return False
    return True


def allow_many_files() -> int:
    """Let this process open as many files as the system allows it, since each connection is one.

    Returns:
        How many of them connections may be; the others are for the cloud itself.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(most - _OWN_FILES, most // 2)
