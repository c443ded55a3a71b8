"""Addresses of this machine and of others."""

from __future__ import annotations

import ipaddress
import re
import socket

from janus_vit.errors import InputError

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")  # names by which a browser may ask this machine for a page
_ADDRESS = re.compile(r"(\[[^][\s/]+\]|[^][\s/:]+):(?P<port>[0-9]{1,5})")


def is_loopback(host: str) -> bool:
    """Whether an address or a name of a host leads to this machine alone."""
    host = host.strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _resolves_to_loopback(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def check_address(address: str) -> None:
    """Require an address "host:port", with an IPv6 host in brackets.

    Raises:
        InputError: there is no host, more than a host, or no port from 1 to 65535.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise InputError(f"address {address!r} must be HOST:PORT with a port from 1 to 65535, such as 10.0.0.5:50051")


def _resolves_to_loopback(host: str) -> bool:
    try:
        found = {place[0] for *_, place in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback for each in found)
