"""A server's certificate and key, as bytes that can be handed to other processes."""

from __future__ import annotations

from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a server proves its identity with.

    Attributes:
        certificates: certificate chain, PEM.
        key: private key, PEM.
    """

    certificates: bytes
    key: bytes

    def __repr__(self) -> str:
        return "ServerTls(...)"  # a key must not reach a log

    def credentials(self) -> grpc.ServerCredentials:
        """The same for gRPC."""
        return grpc.ssl_server_credentials([(self.key, self.certificates)])
