"""What connects the device to the cloud in a live run: protocols, and the network that goes through the TCP proxy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from janus_vit.links.emulator import EmulatedLink, LinkSpec


class Link(Protocol):
    """A running link to the cloud; closed at the end of its `with` block."""

    @property
    def address(self) -> str:
        """host:port; connections to it go over the link."""

    @property
    def elapsed_s(self) -> float:
        """Position in the trace."""

    def rate_mbps(self) -> float:
        """Return the uplink's true rate now."""

    def __enter__(self) -> Link: ...

    def __exit__(self, *_: object) -> None: ...


class Network(Protocol):
    """Where the cloud listens, and links that lead there. `links.tunnel.Tunnel` is one."""

    @property
    def host(self) -> str:
        """Address that the cloud listens on."""

    @property
    def namespace(self) -> str | None:
        """Path of the network namespace in which the cloud listens; None is the current one."""

    def open_link(self, port: int) -> Link:
        """Open a link to the cloud at that port. The link starts at the beginning of its trace."""


@dataclass(frozen=True)
class EmulatedNetwork:
    """The loopback interface, with links through the TCP proxy of `links.emulator`.

    Attributes:
        spec: rates and delay of the links.
        host: see `Network.host`.
        namespace: see `Network.namespace`.
    """

    spec: LinkSpec
    host: str = "127.0.0.1"
    namespace: None = None

    def open_link(self, port: int) -> EmulatedLink:
        """See `Network.open_link`."""
        return EmulatedLink(self.spec, self.host, port)
