"""Options for certificates and tokens, of the cloud and of devices. Imports gRPC only when it is needed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.errors import InputError
from janus_vit.input_files import read_file

if TYPE_CHECKING:
    import grpc

TOKEN_VARIABLE = "JANUS_VIT_TOKEN"
_LARGEST_TOKEN_FILE_BYTES = 4_096
_TOKEN = re.compile(r"[!-~]{1,190}")  # as gRPC sends it, and as long as the cloud reads it

ServerCertificate = Annotated[
    Path | None,
    typer.Option(
        "--cert",
        "--tls-cert",
        metavar="FILE",
        help="Certificate chain (PEM); serves with TLS. May be renewed any time.",
    ),
]
ServerKey = Annotated[
    Path | None, typer.Option("--key", "--tls-key", metavar="FILE", help="Private key of the certificate (PEM).")
]
ClientCa = Annotated[
    Path | None,
    typer.Option(
        "--client-ca", metavar="FILE", help="Authority (PEM) of client certificates; devices without one are refused."
    ),
]
TokenHashes = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        metavar="FILE",
        help="Hashes of the tokens of devices, from 'janus-vit token'; devices without one are refused. "
        "The file may change while the cloud runs.",
    ),
]
AllowAnonymous = Annotated[
    bool, typer.Option("--allow-anonymous", help="Serve everybody who can reach the port, without credentials.")
]
CloudCa = Annotated[
    Path | None,
    typer.Option("--ca", "--tls-ca", metavar="FILE", help="Certificates (PEM) to trust; connects with TLS."),
]
DeviceCertificate = Annotated[
    Path | None,
    typer.Option("--cert", metavar="FILE", help="Certificate of this device (PEM), for 'cloud --client-ca'."),
]
DeviceKey = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Private key of that certificate (PEM).")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help=f"Token of this device, from 'janus-vit token'. Default: the environment variable {TOKEN_VARIABLE}.",
    ),
]


def channel_credentials(ca: Path | None, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials | None:
    """TLS credentials of a device; None without `ca`.

    Raises:
        InputError: a file cannot be used, or the options do not fit together.
    """
    from janus_vit.cloud.access.certificates import check_authorities, check_pair

    if (certificate is None) != (key is None):
        raise InputError("--cert and --key belong together: give both or neither")
    if ca is None:
        if certificate is not None:
            raise InputError("--cert needs TLS: add --ca FILE")
        return None
    import grpc

    trusted = check_authorities(ca)
    if certificate is None or key is None:
        return grpc.ssl_channel_credentials(trusted)
    chain, private = check_pair(certificate, key)
    return grpc.ssl_channel_credentials(trusted, private, chain)


def device_token(path: Path | None) -> str | None:
    """Token of this device, from a file or the environment; None if there is none.

    Raises:
        InputError: the file cannot be read, or it or the variable holds anything else than one token.
    """
    if path is None:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if token and not _TOKEN.fullmatch(token):
            raise InputError(
                f"environment variable {TOKEN_VARIABLE}: is no token: set it to what 'janus-vit token' prints"
            )
        return token or None
    lines = read_file(path, _LARGEST_TOKEN_FILE_BYTES).decode("utf-8-sig", "replace").split()
    if len(lines) != 1 or not _TOKEN.fullmatch(lines[0]):
        raise InputError(f"{path}: must hold one token alone: write it with 'janus-vit token NAME --out FILE'")
    return lines[0]
