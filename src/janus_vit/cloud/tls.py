"""A server's certificate and key, as bytes that can be sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class ServerTls:
    """A server's TLS certificate and key.

    Attributes:
        certificates: certificate chain, PEM.
        key: private key, PEM.
    """

    certificates: bytes
    key: bytes

    def __repr__(self) -> str:
        return "ServerTls(...)"  # so that the key does not appear in logs

    def credentials(self) -> grpc.ServerCredentials:
        """gRPC credentials with this certificate and key."""
        return grpc.ssl_server_credentials([(self.key, self.certificates)])
