"""`janus-vit cloud --ray`: start Ray Serve on this machine with replicas of the cloud, and stop it at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus_vit.cli.common.console import messages, say, wait_for_signal
from janus_vit.cli.common.loading import DEFAULT_VIDEO_MODEL, VIDEO, load_model_for_task
from janus_vit.cli.common.measure import read_profile
from janus_vit.cli.common.options import DEFAULT_MODEL
from janus_vit.errors import InputError
from janus_vit.input_files import real_path
from janus_vit.wire.addresses import check_address

if TYPE_CHECKING:
    from janus_vit.cloud.ray.settings import RaySettings
    from janus_vit.model.catalog import Model

_EVERY_ADDRESS = ("0.0.0.0", "[::]")


def check_unused(ray: bool, only_with_ray: Mapping[str, object], never_with_ray: Mapping[str, object]) -> None:
    """Refuse options that have no effect.

    Args:
        ray: whether --ray was given.
        only_with_ray: values of the options that need --ray, by name; None if not given.
        never_with_ray: values of the options that Ray Serve does not have, in the same way.

    Raises:
        InputError: an option was given that has no effect.
    """
    for name, value in (never_with_ray if ray else only_with_ray).items():
        if value is not None:
            remedy = f"leave out {name} or --ray" if ray else "add --ray"
            raise InputError(f"{name} has no effect {'with' if ray else 'without'} --ray: {remedy}")


def serve_on_ray(listen: str, arguments: Mapping[str, Any], as_json: bool) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        listen: value of --listen.
        arguments: values of the fields of `RaySettings`.
        as_json: whether to print where the cloud serves as JSON.

    Raises:
        InputError: Ray Serve is not installed or cannot listen there, or an argument cannot be used.
        Unreachable: a replica cannot start.
    """
    port = _check_listen(listen)
    if arguments["profile"] is None:
        raise InputError("--ray needs --profile FILE: write one with 'janus-vit profile --quick --out cloud.json'")
    from janus_vit.cloud.ray.settings import RaySettings

    model = load_model_for_task(*(arguments[name] for name in ("model", "task", "image_size", "architecture")))
    read_profile(arguments["profile"], model)
    _serve(RaySettings.parse(_for_replicas(arguments)), model, port, as_json)


def _check_listen(listen: str) -> int:
    """Check the value of --listen, and return its port."""
    if find_spec("ray") is None:
        raise InputError("--ray needs Ray Serve: pip install 'janus-vit[ray]'")
    from janus_vit.cloud.processes.ingest_pool import PortReservation

    check_address(listen)
    host, _, port = listen.rpartition(":")
    if host not in _EVERY_ADDRESS:
        raise InputError(f"--listen {listen}: Ray Serve listens on every address: write 0.0.0.0:{port}")
    PortReservation(listen).close()
    return int(port)


def _for_replicas(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for processes that run in another folder and know no task "video", which only chooses the model."""
    changed = {**arguments, "profile": real_path(arguments["profile"])}
    if arguments["task"] == VIDEO:
        name = DEFAULT_VIDEO_MODEL if arguments["model"] == DEFAULT_MODEL else arguments["model"]
        changed = {**changed, "model": name, "task": None}
    if os.path.exists(changed["model"]):
        changed["model"] = real_path(Path(changed["model"]))
    return changed


def _serve(settings: RaySettings, model: Model, port: int, as_json: bool) -> None:
    from janus_vit.cloud.ray.local import deploy, local_ray, local_scale
    from janus_vit.cloud.ray.replica import load_service
    from janus_vit.wire.messages import HEADER_BYTES
    from janus_vit.wire.request_check import largest_body_bytes
    from janus_vit.wire.rpc import LARGEST_PROBE_BYTES

    scale = local_scale(settings)
    cores = max(os.cpu_count() or 1, scale.most * scale.cpus)
    largest_bytes = max(largest_body_bytes(model.shape), LARGEST_PROBE_BYTES) + HEADER_BYTES
    say(messages(), f"starting Ray Serve with {scale} of {model.name}")
    with local_ray(port, largest_bytes, cores):
        deploy(partial(load_service, settings), scale, port)
        with wait_for_signal() as stop:
            say(messages(), f"serving {model.name} on 0.0.0.0:{port}; Ctrl-C stops it")
            if as_json:
                where = {"host": "0.0.0.0", "port": port, "model": model.name, "fingerprint": model.fingerprint}
                print(json.dumps({**where, "fewest_replicas": scale.fewest, "most_replicas": scale.most}), flush=True)
            stop.wait()
            say(messages(), "stopping: answering the requests that were accepted")
