"""TLS of a live page: its certificate, which may be renewed while it serves, and those of browsers."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from janus_vit.cloud.access.certificates import check_pair
from janus_vit.cloud.access.watched import WatchedFiles


@dataclass(frozen=True, slots=True)
class PageTls:
    """Files of a live page, PEM.

    Attributes:
        certificates: certificate chain of the page.
        key: private key of the certificate.
        client_ca: certificates of the authority that signs those of browsers; a browser without one is refused. None
            asks for none.
    """

    certificates: Path
    key: Path
    client_ca: Path | None = None


def followed(tls: PageTls, context: ssl.SSLContext) -> WatchedFiles[None]:
    """Load the certificate into a context, and again when its files have changed and somebody asks for the value.

    Args:
        tls: the files.
        context: of the server; connections that are open keep the certificate that they have.

    Raises:
        InputError: the files cannot be used.
    """

    def load() -> None:
        check_pair(tls.certificates, tls.key)
        context.load_cert_chain(tls.certificates, tls.key)

    return WatchedFiles([tls.certificates, tls.key], load)
