"""`janus-vit cloud`: serve a model to devices until it is stopped."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from janus_vit.cli.common.console import messages, say, wait_for_signal
from janus_vit.cli.common.live_pages import check_page_address, cloud_page
from janus_vit.cli.common.loading import ArchitectureName, Head, ImageSize, Task, load_engine, load_model_for_task
from janus_vit.cli.common.measure import read_or_measure_profile
from janus_vit.cli.common.on_ray import check_unused, serve_on_ray
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    AsJson,
    EngineName,
    ModelName,
    PageAddress,
    ProfileFile,
    Threads,
    use_threads,
)
from janus_vit.cli.common.responsive import quick_answers
from janus_vit.cli.common.security import AllowAnonymous, ClientCa, ServerCertificate, ServerKey, TokenHashes
from janus_vit.cli.common.tracing import Traces, request_tracer
from janus_vit.errors import InputError
from janus_vit.model.engines.registry import AUTO, check_engine
from janus_vit.wire.addresses import check_address

_LOOK_S = 0.5  # between two looks at whether every part of the cloud still works


def cloud(
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to serve; port 0 takes any free one.")
    ] = "127.0.0.1:50051",
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
    architecture: ArchitectureName = None,
    head: Head = None,
    profile: ProfileFile = None,
    engine: EngineName = AUTO,
    threads: Threads = None,
    ingest: Annotated[
        int,
        typer.Option(
            "--ingest",
            metavar="N",
            min=0,
            help="Processes that receive and decode requests for the engine; 0 does it in the engine's process. "
            "For a GPU server: as many as it has spare cores.",
        ),
    ] = 0,
    max_batch: Annotated[
        int, typer.Option("--max-batch", metavar="N", min=1, help="Frames that run together at most.")
    ] = 32,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port",
            metavar="PORT",
            help="Serve Prometheus metrics on this port; with --tokens or --client-ca to this machine only.",
        ),
    ] = None,
    page: PageAddress = None,
    traces: Traces = False,
    as_json: AsJson = False,
    cert: ServerCertificate = None,
    key: ServerKey = None,
    client_ca: ClientCa = None,
    tokens: TokenHashes = None,
    allow_anonymous: AllowAnonymous = False,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="Serve with replicas on Ray Serve, which routes requests to them and replaces those that die. "
            "Needs --profile, and pip install 'janus-vit\\[ray]'.",
        ),
    ] = False,
    replicas: Annotated[
        str | None,
        typer.Option(
            "--replicas",
            metavar="N",
            help="Replicas on Ray Serve, such as 2, or 1-4 to scale with the load. Default: 1 to the number of GPUs.",
        ),
    ] = None,
) -> None:
    """Serve a model to any number of devices, in batches across devices.

    Requests that cannot be answered in time are refused at once, and the device
    finishes them itself. Ctrl-C or SIGTERM stops the cloud: it refuses new
    requests and answers those that it has accepted.

    \b
    For devices with tokens:  janus-vit cloud --listen 0.0.0.0:50051 --cert cert.pem --key key.pem --tokens tokens.txt
    For everybody:            janus-vit cloud --listen 0.0.0.0:50051 --allow-anonymous
    A GPU server:             janus-vit cloud --engine auto-bf16 --ingest 8 --metrics-port 9090
    Several GPUs:             janus-vit cloud --listen 0.0.0.0:50051 --allow-anonymous --profile cloud.json --ray
    """
    never_with_ray = {
        "--head": head,
        "--ingest": ingest or None,
        "--metrics-port": metrics_port,
        "--cert": cert,
        "--key": key,
        "--client-ca": client_ca,
        "--tokens": tokens,
        "--page": page,
        "--traces": traces or None,
    }
    from janus_vit.cloud.access.settings import Access, Gate

    check_unused(ray, {"--replicas": replicas}, never_with_ray)
    check_engine(engine)
    access = Access(cert, key, client_ca, tokens, allow_anonymous)
    if ray:
        if not allow_anonymous:
            raise InputError(
                "Ray Serve asks nobody for credentials: add --allow-anonymous if everybody who can reach it may "
                "use the cloud, or leave out --ray"
            )
        arguments = {
            "profile": profile,
            "model": model,
            "task": task,
            "image_size": image_size,
            "architecture": architecture,
            "engine": engine,
            "threads": threads,
            "max_batch": max_batch,
            "replicas": replicas,
        }
        serve_on_ray(listen, arguments, as_json)
        return
    from janus_vit.cloud.server import Cloud
    from janus_vit.cloud.watching.events import EventBuffer
    from janus_vit.scheduling.config import CloudConfig

    host, _, port = listen.rpartition(":")
    if not (host and port == "0"):
        check_address(listen)
    config = CloudConfig(ingest_processes=ingest, max_batch_frames=max_batch, metrics_port=metrics_port)
    access.check(host)
    Gate(access)  # its files are read before the model is
    check_page_address(page, access)
    use_threads(threads)
    served = load_model_for_task(model, task, image_size, architecture, head)
    runner = load_engine(served, engine, profile)
    measured = read_or_measure_profile(profile, served, runner)
    events = EventBuffer()
    on_event = None if page is None else events.add
    with (
        wait_for_signal() as stop,
        request_tracer(traces) as on_trace,
        Cloud(served, measured, listen, access, runner, config, on_event=on_event, on_trace=on_trace) as server,
        cloud_page(page, server, events, access) as page_url,
    ):
        say(messages(), f"serving {served.name} on {host}:{server.port} with {server.capacity}; Ctrl-C stops it")
        if server.metrics_url is not None:
            say(messages(), f"metrics: {server.metrics_url}")
        if as_json:
            where = {"host": host, "port": server.port, "model": served.name, "fingerprint": served.fingerprint}
            pages = {"metrics_port": server.metrics_port, "page": page_url}
            print(json.dumps({**where, **asdict(server.capacity), **pages}), flush=True)
        with quick_answers():
            while not stop.requested:
                server.check()
                stop.wait(_LOOK_S)
        say(messages(), "stopping: answering the requests that were accepted")
        server.drain()
