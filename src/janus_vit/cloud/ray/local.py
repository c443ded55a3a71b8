"""Ray Serve on this machine alone: started, with the application, until the end of a `with` block."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
import ray
from ray import serve
from ray.exceptions import RayError

from janus_vit.cloud.ray.application import replicas_of
from janus_vit.cloud.ray.proxy import APPLICATION, add_janus_service
from janus_vit.cloud.ray.scale import Scale
from janus_vit.cloud.ray.settings import RaySettings
from janus_vit.errors import InputError, Unreachable
from janus_vit.wire.rpc import HELLO

if TYPE_CHECKING:
    from janus_vit.cloud.service import CloudService

_START_S = 120.0  # until the proxy answers once the replicas run
_TRIES = 3  # Ray gives its first process 30 s, which are too short where other programs hold the CPU
_LOGS = "see the logs of Ray Serve"
_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # Ray would let every other program of the machine go before proxy and replicas
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would report its use to its makers
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",  # requests go to replicas by gRPC, with fewer threads: a third less CPU time
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",  # which is not for gRPC behind one port
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",  # a slower proxy is killed; 5 s are too short if the machine is busy
}
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

    Raises:
        Unreachable: Ray or the proxy cannot start.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"] = str(largest_message_bytes)
    os.environ["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"] = str(2 * largest_message_bytes)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it would tell each step
    _start_ray(cpus)
    try:
        _start_serve(port)
        yield
        serve.delete(APPLICATION)  # answers the accepted requests
    finally:
        ray.shutdown()


def _start_ray(cpus: int, tries: int = _TRIES) -> None:
    try:
        ray.init(
            address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
    except Exception as error:  # of no class of its own
        ray.shutdown()
        if tries == 1:
            raise Unreachable(
                f"Ray cannot start ({_last_line(str(error))}): stop other programs and try again"
            ) from error
        _start_ray(cpus, tries - 1)


def _start_serve(port: int) -> None:
    try:
        serve.start(
            http_options={"host": "127.0.0.1", "port": 0},  # without it there is no gRPC proxy
            grpc_options={"port": port, "grpc_servicer_functions": [_PROXY]},
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
    except (RayError, TimeoutError) as error:
        raise Unreachable(f"the proxy of Ray Serve cannot start: {_last_line(str(error))} ({_LOGS})") from error


def deploy(make_service: Callable[[], CloudService], scale: Scale, port: int) -> None:
    """Start the application and wait until it answers.

    Args:
        make_service: makes the service in each replica's process.
        scale: the replicas to start.
        port: port of the proxy.

    Raises:
        Unreachable: a replica could not start, or the proxy does not answer; the message says why.
    """
    try:
        serve.run(replicas_of(make_service, scale), name=APPLICATION)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            channel.unary_unary(HELLO)(b"", wait_for_ready=True, timeout=_START_S)
    except (RayError, RuntimeError) as error:
        raise Unreachable(f"Ray Serve cannot start the cloud: {_last_line(str(error))} ({_LOGS})") from error
    except grpc.RpcError as error:
        raise Unreachable(f"the gRPC proxy of Ray Serve does not answer: {error.details()} ({_LOGS})") from error


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")
