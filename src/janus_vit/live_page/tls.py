"""TLS of a live page: its certificate and the authority of browsers, which may both be renewed while it serves."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from janus_vit.cloud.access.certificates import load_authorities, load_pair
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


def watched_context(tls: PageTls) -> WatchedFiles[ssl.SSLContext]:
    """What the server's side of a handshake needs: a new context whenever a file has changed.

    Args:
        tls: the files.

    Raises:
        InputError: the files cannot be used, or the certificate is not valid now.
    """
    files = [tls.certificates, tls.key, *([] if tls.client_ca is None else [tls.client_ca])]

    def load() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_pair(context, tls.certificates, tls.key)
        if tls.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            load_authorities(context, tls.client_ca)
        return context

    return WatchedFiles(files, load)
