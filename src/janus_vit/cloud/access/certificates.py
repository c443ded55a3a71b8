"""A server's certificate, its key, and the authority of its clients, from files that may be renewed while it runs."""

from __future__ import annotations

import ssl
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc

from janus_vit.cloud.access.certificate_fields import check_dates, check_key
from janus_vit.cloud.access.watched import WatchedFiles, read_bytes
from janus_vit.errors import InputError


class Certificates:
    """TLS of a server. Each handshake uses the files as they are then.

    Args:
        certificate: certificate chain of the server, PEM.
        key: private key of the certificate, PEM.
        client_ca: certificates of the authority that signs those of clients, PEM; None asks clients for none.

    Raises:
        InputError: a file cannot be read, or does not hold what it should.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._asks_clients = client_ca is not None
        paths = [certificate, key, *([] if client_ca is None else [client_ca])]
        self._files = WatchedFiles(paths, lambda: _read(certificate, key, client_ca))
        self._given = self._files.value()

    def credentials(self) -> grpc.ServerCredentials:
        """gRPC credentials that follow the files."""
        return grpc.dynamic_ssl_server_credentials(self._given, self._changed, self._asks_clients)

    def _changed(self) -> Any:
        """The files as gRPC needs them if they have changed since it last asked, else None."""
        now = self._files.value()
        if now is self._given:
            return None
        self._given = now
        return now


def check_authorities(path: Path) -> bytes:
    """Read certificates of authorities to trust, PEM.

    Raises:
        InputError: the file cannot be read, or holds no certificate.
    """
    return load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)


def load_authorities(context: ssl.SSLContext, path: Path) -> bytes:
    """Let a context trust the authorities of a file, PEM, and return what it holds.

    Raises:
        InputError: the file cannot be read, or holds no certificate.
    """
    pem = _read_pem(path)
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise InputError(f"{path}: holds no certificate in PEM form: check the file") from error
    return pem


def _read_pem(path: Path) -> bytes:
    """Read a PEM file without the byte order mark that some editors write: gRPC does not take it, unlike ssl."""
    return read_bytes(path).removeprefix(BOM_UTF8)


def check_pair(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """Read a certificate chain and its private key for gRPC, PEM.

    Raises:
        InputError: see `load_pair`; or the key is of a kind that gRPC does not take.
    """
    pair = load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    with _about(certificate):
        check_key(pair[0])
    return pair


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """Let a context show a certificate chain, PEM, and return what both files hold.

    Raises:
        InputError: a file cannot be read, the key is not that of the certificate, or the certificate is not valid now.
    """
    pair = _read_pem(certificate), _read_pem(key)
    try:
        context.load_cert_chain(certificate, key, password=_no_password(key))
    except OSError as error:
        raise InputError(f"{certificate} and {key} are not a PEM certificate and its key: check both files") from error
    with _about(certificate):
        check_dates(pair[0], datetime.now(timezone.utc))
    return pair


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Let errors begin with the name of a file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _no_password(key: Path) -> Any:
    def refuse() -> str:
        raise InputError(f"{key}: the key is encrypted: give one without a password, readable by this user alone")

    return refuse


def _read(certificate: Path, key: Path, client_ca: Path | None) -> Any:
    chain, private = check_pair(certificate, key)
    authorities = None if client_ca is None else check_authorities(client_ca)
    return grpc.ssl_server_certificate_configuration([(private, chain)], authorities)
