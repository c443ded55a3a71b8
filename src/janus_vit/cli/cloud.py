"""`janus-vit cloud`: serve a model to devices until somebody stops it."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import messages, say, wait_for_signal
from janus_vit.cli.common.loading import ImageSize, Task, load, load_engine
from janus_vit.cli.common.measure import read_or_measure
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    AsJson,
    EngineName,
    ModelName,
    ProfileFile,
    Threads,
    read_bytes,
    use_threads,
)
from janus_vit.errors import InputError
from janus_vit.model.engines.registry import AUTO, check_engine

if TYPE_CHECKING:
    import grpc


def cloud(
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to serve; port 0 takes any free one.")
    ] = "127.0.0.1:50051",
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
    profile: ProfileFile = None,
    engine: EngineName = AUTO,
    threads: Threads = None,
    as_json: AsJson = False,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain (PEM); serves with TLS.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Private key of the certificate (PEM).")
    ] = None,
) -> None:
    """Serve a model to any number of devices. Ctrl-C stops it.

    \b
    Example:    janus-vit cloud --listen 0.0.0.0:50051
    With TLS:   janus-vit cloud --tls-cert cert.pem --tls-key key.pem
    """
    from janus_vit.cloud.server import Cloud
    from janus_vit.runtime.grpc_client import check_address

    host, _, port = listen.rpartition(":")
    if not (host and port == "0"):
        check_address(listen)
    credentials = _credentials(tls_cert, tls_key)
    check_engine(engine)
    use_threads(threads)
    served = load(model, task, image_size)
    runner = load_engine(served, engine)
    measured = read_or_measure(profile, served, runner)
    with wait_for_signal() as stop, Cloud(served, measured, listen, credentials, runner) as server:
        say(messages(), f"serving {served.name} on {host}:{server.port} with engine {runner.name}; Ctrl-C stops it")
        if as_json:
            where = {"host": host, "port": server.port, "model": served.name, "fingerprint": served.fingerprint}
            print(json.dumps(where), flush=True)
        stop.wait()
        say(messages(), "stopping")


def _credentials(cert: Path | None, key: Path | None) -> grpc.ServerCredentials | None:
    import grpc

    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise InputError("--tls-cert and --tls-key belong together: give both or neither")
    pair = (read_bytes(key), read_bytes(cert))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise InputError(f"{cert} and {key} are no certificate with its key in PEM form: check both") from error
    return grpc.ssl_server_credentials([pair])
