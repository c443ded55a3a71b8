"""Network namespaces and TUN devices of Linux: a second network on this machine, and packets that we carry to it.

A TUN device is a network interface whose packets a process reads and writes through a file descriptor. Nothing here
has to be cleaned up: a TUN device vanishes with its descriptor and a namespace without a name with its last process,
however these end. Needs root; knows nothing of rates and delays.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

from janus_vit.errors import InputError

TUN_PATH = "/dev/net/tun"
MTU_BYTES = 1500
CONGESTION_CONTROL = "cubic"  # the default of most systems, whatever this machine is set to
_TX_PACKETS = 10_000  # before the device: the queue that counts is ours
_PAIRS = 1 << 15  # of addresses: 198.18.0.0/15 is set aside for benchmarks (RFC 2544), four addresses each
_FIRST_ADDRESS = int(IPv4Address("198.18.0.0"))

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_TUNSETIFF = 0x400454CA  # linux/if_tun.h, as are the flags: packets of IP, without a header, of a new device
_IFF_TUN, _IFF_NO_PI, _IFF_TUN_EXCL = 0x0001, 0x1000, 0x8000


def check_machine() -> None:
    """Raises InputError that names everything this machine lacks for a tunnel."""
    if not sys.platform.startswith("linux"):
        raise InputError("a tunnelled link needs Linux: use the emulated link, or run this on Linux")
    missing = []
    if os.geteuid() != 0:
        missing.append("root (run it with sudo)")
    if not os.path.exists(TUN_PATH):
        missing.append(f"{TUN_PATH} (modprobe tun; in a container, --device {TUN_PATH})")
    if shutil.which("ip") is None:
        missing.append("the command ip (package iproute2)")
    if missing:
        raise InputError(f"a tunnelled link needs {' and '.join(missing)}: add that, or use the emulated link")


def open_tun(name: str) -> int:
    """A new TUN device in this thread's namespace; a descriptor that does not block and whose packets are IP.

    Raises:
        OSError: EBUSY if there is such a device, EPERM without the right to make one.
    """
    tun = os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL))
    except BaseException:
        os.close(tun)
        raise
    return tun


def open_free_tun(first: int) -> tuple[int, str, int]:
    """A new TUN device whose number nobody on this machine has: descriptor, name and number in [0, 2^15).

    Numbers are tried from `first` on. That two runs never share one is the kernel's doing.
    """
    for number in range(first, first + _PAIRS):
        name = f"janus{number % _PAIRS}"
        try:
            return open_tun(name), name, number % _PAIRS
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
    raise OSError(errno.EBUSY, "every name is taken")


def addresses(number: int) -> tuple[str, str]:
    """Near and far address of the tunnel of this number."""
    first = _FIRST_ADDRESS + 4 * number
    return str(IPv4Address(first + 1)), str(IPv4Address(first + 2))


def configure(name: str, address: str, peer: str) -> None:
    """Give a device of this thread's namespace its address, bring it up, and set the way to the other side.

    Raises:
        OSError: `ip` refuses.
    """
    _ip("address", "add", address, "peer", peer, "dev", name, "noprefixroute")
    _ip("link", "set", name, "mtu", str(MTU_BYTES), "txqueuelen", str(_TX_PACKETS), "up")
    _ip("route", "add", peer, "dev", name, "src", address, "congctl", CONGESTION_CONTROL)


def forget_metrics(peer: str) -> None:
    """Make the kernel forget what it learned of the way to this address: the next connection starts as the first."""
    with contextlib.suppress(OSError):  # nothing is known
        _ip("tcp_metrics", "flush", peer)


def leave_namespace() -> None:
    """Move this thread, and the threads that it starts, to a new network namespace.

    Raises:
        OSError: EPERM without the right to.
    """
    _call("unshare", _CLONE_NEWNET)


def enter_namespace(path: str) -> None:
    """Move this thread, and the threads that it starts, to the network namespace at /proc/<process>/ns/net.

    Raises:
        OSError: there is no such namespace any more, or EPERM.
    """
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", namespace, _CLONE_NEWNET)
    finally:
        os.close(namespace)


def listen_in(path: str, host: str) -> socket.socket:
    """A listening TCP socket in another namespace: a socket stays where it was made, whoever uses it."""

    def listen() -> socket.socket:
        enter_namespace(path)
        return socket.create_server((host, 0))

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(listen).result()


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(errno.EINVAL, f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns and os.unshare came with Python 3.12
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
