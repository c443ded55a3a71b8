"""Create a second network on this machine from a Linux network namespace and TUN devices. Knows no rates or delays.

A TUN device is a network interface whose packets a process reads and writes through a file descriptor. Nothing needs a
clean-up: the kernel removes a TUN device when its descriptor closes, and an unnamed namespace when its last process
ends, even after a crash. Needs root.
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
CONGESTION_CONTROL = "cubic"  # the default of most systems, whatever the setting of this machine
_TX_PACKETS = 10_000  # long, so that packets wait in the emulated queue and not in the device
_PAIRS = 1 << 15  # four addresses per tunnel in 198.18.0.0/15, which is reserved for benchmarks (RFC 2544)
_FIRST_ADDRESS = int(IPv4Address("198.18.0.0"))

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_TUNSETIFF = 0x400454CA  # linux/if_tun.h, as the flags: IP packets, no header before each packet, new device only
_IFF_TUN, _IFF_NO_PI, _IFF_TUN_EXCL = 0x0001, 0x1000, 0x8000


def check_machine() -> None:
    """Check that this machine can create a tunnel.

    Raises:
        InputError: something is missing; the message names all of it.
    """
    if not sys.platform.startswith("linux"):
        raise InputError("a tunnelled link needs Linux: use the emulated link, or run this command on Linux")
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
    """Create a TUN device for IP packets in this thread's namespace, and return its non-blocking descriptor.

    Raises:
        OSError: EBUSY if a device of this name exists, EPERM without the permission to create one.
    """
    tun = os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL))
    except BaseException:
        os.close(tun)
        raise
    return tun


def open_free_tun(first: int) -> tuple[int, str, int]:
    """Create a TUN device with a number that is free on this machine.

    The kernel guarantees that two processes never get the same device.

    Args:
        first: number to try first.

    Returns:
        Descriptor, name, and number in [0, 2^15).

    Raises:
        OSError: EBUSY if no number is free, EPERM without the permission to create a device.
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
    """Return the near and the far address of the tunnel with this number."""
    first = _FIRST_ADDRESS + 4 * number
    return str(IPv4Address(first + 1)), str(IPv4Address(first + 2))


def configure(name: str, address: str, peer: str) -> None:
    """Configure a device in this thread's namespace and bring it up.

    Args:
        name: name of the device.
        address: its own IPv4 address.
        peer: the address on the other side of the tunnel.

    Raises:
        OSError: the command `ip` failed.
    """
    _run_ip(f"address add {address} peer {peer} dev {name} noprefixroute")
    _run_ip(f"link set {name} mtu {MTU_BYTES} txqueuelen {_TX_PACKETS} up")
    _run_ip(f"route add {peer} dev {name} src {address} congctl {CONGESTION_CONTROL}")


def forget_metrics(peer: str) -> None:
    """Clear the kernel's TCP metrics for an address, so that the next connection starts like the first one."""
    with contextlib.suppress(OSError):  # there are no metrics yet
        _run_ip(f"tcp_metrics flush {peer}")


def leave_namespace() -> None:
    """Move this thread, and the threads that it starts, to a new network namespace.

    Raises:
        OSError: EPERM without the permission.
    """
    _call_libc("unshare", _CLONE_NEWNET)


def enter_namespace(path: str) -> None:
    """Move this thread, and the threads that it starts, to the network namespace at /proc/<process>/ns/net.

    Raises:
        OSError: the namespace no longer exists, or EPERM without the permission.
    """
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call_libc("setns", namespace, _CLONE_NEWNET)
    finally:
        os.close(namespace)


def listen_in(path: str, host: str) -> socket.socket:
    """Open a listening TCP socket in another namespace.

    A socket stays in the namespace in which it was opened, so a short-lived thread opens it there.

    Args:
        path: the namespace, /proc/<process>/ns/net.
        host: address to listen on, with any free port.
    """

    def listen() -> socket.socket:
        enter_namespace(path)
        return socket.create_server((host, 0))

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(listen).result()


def _run_ip(arguments: str) -> None:
    """Run the command `ip` with arguments that are separated by spaces."""
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(errno.EINVAL, f"ip {arguments}: {done.stderr.strip()}")


def _call_libc(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns and os.unshare exist only since Python 3.12
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
