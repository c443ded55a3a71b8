"""Addresses of this machine and of others."""

from __future__ import annotations

import ipaddress
import socket


def is_loopback(host: str) -> bool:
    """Whether an address or a name of a host leads to this machine alone."""
    host = host.strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _resolves_to_loopback(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _resolves_to_loopback(host: str) -> bool:
    try:
        found = {place[0] for *_, place in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback for each in found)
