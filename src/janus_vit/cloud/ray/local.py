"""Ray Serve on this machine alone: started, with the application, until the end of a `with` block."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import ray
from ray import serve

from janus_vit.cloud.ray.application import Scale, replicas_of
from janus_vit.cloud.ray.proxy import APPLICATION, add_janus_service
from janus_vit.cloud.ray.replica import make_service
from janus_vit.cloud.ray.settings import RaySettings
from janus_vit.errors import InputError, Unreachable

_PROXY = f"{add_janus_service.__module__}.{add_janus_service.__name__}"


def local_scale(settings: RaySettings) -> Scale:
    """Return the replicas for this machine.

    Raises:
        InputError: there are fewer GPUs than replicas.
    """
    import torch

    gpus = torch.cuda.device_count()
    scale = Scale.of(settings, gpus)
    if scale.gpus and scale.most > gpus:
        raise InputError(
            f"{scale.most} replicas need {scale.most} GPUs, and this machine has {gpus}: use at most {gpus}"
        )
    return scale


@contextmanager
def local_ray(port: int, largest_message_bytes: int, cpus: int) -> Iterator[None]:
    """Start Ray and Ray Serve on this machine, and stop both at the end.

    Args:
        port: port of the gRPC proxy, which listens on all addresses.
        largest_message_bytes: size of the largest message that it reads.
        cpus: cores that Ray may reserve.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
    os.environ["RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"] = str(largest_message_bytes)
    logging.getLogger("ray").setLevel(logging.WARNING)
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, logging_level="warning")
    try:
        serve.start(
            http_options={"host": "127.0.0.1", "port": 0},  # without it there is no gRPC proxy
            grpc_options={"port": port, "grpc_servicer_functions": [_PROXY]},
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
        yield
        serve.shutdown()
    finally:
        ray.shutdown()


def deploy(settings: RaySettings, scale: Scale) -> None:
    """Start the application and wait until its replicas serve.

    Raises:
        Unreachable: a replica could not start; the message says why.
    """
    make = partial(make_service, settings, settings.threads or scale.cpus)
    try:
        serve.run(replicas_of(make, scale), name=APPLICATION)
    except RuntimeError as error:
        raise Unreachable(f"Ray Serve cannot start the cloud: {_last_line(str(error))}") from error


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")
