"""A filter in the kernel that drops the connection requests (TCP SYN) of some networks to a listening socket (Linux).

It needs no privileges, and a dropped request costs the process nothing. Connections that are open go on. Classic BPF:
Linux Documentation/networking/filter.rst.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MOST_NETWORKS = 32  # before Linux 6.7, a filter and the one that it replaces have 20 kB together
_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER
_LOAD_WORD, _LOAD_BYTE, _IF_EQUAL, _AND, _RETURN = 0x20, 0x30, 0x15, 0x54, 0x06
_IP_HEADER = 0xFFF00000  # SKF_NET_OFF; other offsets count from the TCP header
_TCP_FLAGS, _SYN, _SYN_OR_ACK = 13, 0x02, 0x12
_SOURCE = {4: 12, 6: 8}  # offset of the source address in the header of each IP version
_KEEP, _DROP = 0xFFFFFFFF, 0


class Instruction(NamedTuple):
    """One instruction of classic BPF: operation, steps to skip if true and if false, and operand."""

    operation: int
    if_true: int
    if_false: int
    operand: int


def attach(listener: socket.socket, networks: Sequence[str]) -> None:
    """Drop the connection requests of these networks, and of no others any more.

    Args:
        listener: a TCP socket that listens.
        networks: addresses, or networks such as "2001:db8::/64"; at most `MOST_NETWORKS`.

    Raises:
        OSError: the system has no such filters.
    """
    if not networks:
        listener.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
        return
    program = list(syn_filter(networks))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    listener.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HP", len(program), ctypes.addressof(code)))


def syn_filter(networks: Sequence[str]) -> Iterator[Instruction]:
    """The filter's program.

    Args:
        networks: see `attach`.
    """
    yield Instruction(_LOAD_BYTE, 0, 0, _TCP_FLAGS)
    yield Instruction(_AND, 0, 0, _SYN_OR_ACK)
    yield Instruction(_IF_EQUAL, 1, 0, _SYN)
    yield Instruction(_RETURN, 0, 0, _KEEP)
    for network in networks:
        tests = list(_tests(ipaddress.ip_network(network)))
        for at, (load, value) in enumerate(tests):
            yield load
            if load.operation == _LOAD_BYTE:
                yield Instruction(_AND, 0, 0, 0xF0)
            yield Instruction(_IF_EQUAL, 0, 2 * (len(tests) - at - 1) + 1, value)
        yield Instruction(_RETURN, 0, 0, _DROP)
    yield Instruction(_RETURN, 0, 0, _KEEP)


def _tests(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Iterator[tuple[Instruction, int]]:
    """What to load, and what it has to be if a packet comes from this network of whole 32-bit words."""
    yield Instruction(_LOAD_BYTE, 0, 0, _IP_HEADER), network.version << 4
    start = network.network_address.packed
    for offset in range(0, network.prefixlen // 8, 4):
        word = int.from_bytes(start[offset : offset + 4], "big")
        yield Instruction(_LOAD_WORD, 0, 0, _IP_HEADER + _SOURCE[network.version] + offset), word
