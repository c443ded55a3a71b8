"""Who makes a call: a name that credentials prove, or the address that it comes from. Never a name that is claimed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from janus_vit.wire.addresses import is_loopback

_SUBSCRIBER_BITS = 64  # of an IPv6 address; a subscriber can use any of the others


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call, for limits and fair shares.

    Attributes:
        name: identifies the caller.
        proven: whether a token or a certificate proves the name; otherwise it is an address.
    """

    name: str
    proven: bool = False


@lru_cache(4_096)
def split_peer(peer: str) -> tuple[str, int]:
    """Address and port of gRPC's name of a peer, such as "ipv4:10.0.0.7:40000" or "ipv6:%5Bfe80::1%25eth0%5D:40000"."""
    _, _, place = peer.partition(":")
    host, _, port = unquote(place).rpartition(":")
    return host.strip("[]").partition("%")[0], int(port) if port.isdigit() else 0


@lru_cache(4_096)
def caller_at(peer: str) -> Caller:
    """Caller without credentials. On this machine each connection is a caller, elsewhere each address is one.

    Args:
        peer: gRPC's name of the peer.
    """
    host, port = split_peer(peer)
    if is_loopback(host):
        return Caller(f"{host}:{port}")
    return Caller(network_of(host))


@lru_cache(4_096)
def network_of(host: str) -> str:
    """The addresses that one subscriber has: an IPv4 address, or the first 64 bits of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return str(mapped)
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((address, _SUBSCRIBER_BITS), strict=False))
