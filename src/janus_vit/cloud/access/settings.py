"""Who may call a cloud: its settings, and the gate that applies them to each call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from janus_vit.cloud.access.callers import Caller, caller_at
from janus_vit.cloud.access.certificates import Certificates
from janus_vit.cloud.access.tokens import Tokens
from janus_vit.errors import InputError, Unauthenticated
from janus_vit.wire.addresses import is_loopback

_LONGEST_NAME, _HASH_LENGTH = 64, 12  # characters
_NO_TOKEN = "the call has no token: start the device with --token-file"
_UNKNOWN_TOKEN = "its token is not in the cloud's file --tokens: admit it there, or use another --token-file"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a cloud. Certificates and tokens are read from files again when these change.

    Attributes:
        certificate: certificate chain of the server, PEM; serves with TLS.
        key: private key of the certificate, PEM.
        client_ca: certificates of the authority that signs those of devices, PEM; a device without one is refused.
        tokens: file with the hashes of the tokens of devices; a device without one is refused.
        allow_anonymous: whether a cloud that others can reach serves everybody.

    Raises:
        InputError: settings do not fit together.
    """

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None
    allow_anonymous: bool = False

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InputError("--cert and --key belong together: give both or neither")
        if self.client_ca is not None and self.certificate is None:
            raise InputError("--client-ca needs TLS: add --cert FILE and --key FILE")
        if self.allow_anonymous and self.authenticates:
            raise InputError("--allow-anonymous contradicts --tokens and --client-ca: leave it out")

    @property
    def authenticates(self) -> bool:
        """Whether a device has to prove who it is."""
        return self.tokens is not None or self.client_ca is not None

    def metrics_host(self, host: str) -> str:
        """Where metrics are served. They ask for no credentials: a cloud that does serves them to its machine alone."""
        return "127.0.0.1" if self.authenticates else host.strip("[]")

    def check(self, host: str) -> None:
        """Require that a cloud that listens on this host is protected.

        Raises:
            InputError: strangers could use it, or read the tokens of its devices.
        """
        if is_loopback(host):
            return
        if not (self.authenticates or self.allow_anonymous):
            raise InputError(
                f"other machines reach {host}, and anyone could use this cloud: add --tokens FILE with --cert FILE and "
                "--key FILE, or --client-ca FILE, or --allow-anonymous if everybody may use it"
            )
        if self.tokens is not None and self.certificate is None:
            raise InputError(f"tokens would cross the network to {host} in clear text: add --cert FILE and --key FILE")


class Gate:
    """Identifies the callers of one server process.

    Args:
        access: who may call.

    Attributes:
        by_certificate: whether devices need a certificate.

    Raises:
        InputError: a file cannot be used.
    """

    def __init__(self, access: Access) -> None:
        self._certificates: Certificates | None = None
        if access.certificate is not None and access.key is not None:
            self._certificates = Certificates(access.certificate, access.key, access.client_ca)
        self._tokens = None if access.tokens is None else Tokens(access.tokens)
        self.by_certificate = access.client_ca is not None

    @property
    def credentials(self) -> grpc.ServerCredentials | None:
        """TLS credentials of the server; None serves without TLS."""
        return None if self._certificates is None else self._certificates.credentials()

    def identify(self, context: Any, authorization: object, known: bool = True) -> Caller:
        """Caller of a gRPC call: by its token, else by its certificate, else by its address.

        Args:
            context: context of the call.
            authorization: metadata of that name.
            known: whether the caller has to prove who it is, if the cloud asks for that.

        Raises:
            Unauthenticated: the call has no valid token, although the cloud has a file of tokens.
        """
        if not known:
            return caller_at(context.peer())
        if self._tokens is not None:
            name = self._tokens.identify(authorization if isinstance(authorization, str) else None)
            if name is None:
                raise Unauthenticated(_NO_TOKEN if authorization is None else _UNKNOWN_TOKEN)
            return Caller(name, proven=True)
        if self.by_certificate:
            return Caller(_certificate_name(context.auth_context()), proven=True)
        return caller_at(context.peer())


def _certificate_name(verified: dict[str, list[bytes]]) -> str:
    """Common name of a verified client certificate, or its first alternative name. A long one ends in a hash of it.

    Raises:
        Unauthenticated: it has neither.
    """
    names = (*verified.get("x509_common_name", ()), *verified.get("x509_subject_alternative_name", ()))
    name = names[0].decode("utf-8", "replace") if names else ""
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(names[0]).hexdigest()[:_HASH_LENGTH]
        name = f"{name[: _LONGEST_NAME - _HASH_LENGTH - 1]}~{digest}"
    if not name.isprintable() or not name:
        raise Unauthenticated("the client certificate has no printable name: give it a common name")
    return name
