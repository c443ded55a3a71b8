"""The application on Ray Serve: how many replicas run, on what, and when there are more or fewer of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from janus_vit.cloud.ray.replica import Replica, load_service
from janus_vit.cloud.ray.scale import DEPLOYMENT, Scale
from janus_vit.cloud.ray.settings import RaySettings
from janus_vit.scheduling.config import CloudConfig

if TYPE_CHECKING:
    from janus_vit.cloud.service import CloudService

_HEALTH_CHECK_S = 1.0  # Ray Serve notices a dead replica, and starts another one, at its next health check


def app(arguments: Mapping[str, Any]) -> serve.Application:
    """Build the application: `serve run janus_vit.cloud.ray:app profile=/srv/cloud.json model=/srv/my-model`.

    Args:
        arguments: see `RaySettings`.

    Raises:
        InputError: an argument is missing or unknown, or its value cannot be used.
    """
    settings = RaySettings.parse(arguments)
    scale = Scale.of(settings, gpus=int(ray.cluster_resources().get("GPU", 0)))
    return replicas_of(partial(load_service, settings), scale)


def replicas_of(make_service: Callable[[], CloudService], scale: Scale) -> serve.Application:
    """Build an application whose replicas serve what `make_service` returns in their processes."""
    limits = CloudConfig()
    options: dict[str, Any] = {"num_replicas": scale.fewest}
    if scale.fewest < scale.most:
        autoscaling = {
            "min_replicas": scale.fewest,
            "max_replicas": scale.most,
            "target_ongoing_requests": scale.ongoing,
        }
        options = {"autoscaling_config": autoscaling}
    deployment = serve.deployment(Replica).options(
        name=DEPLOYMENT,
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        max_ongoing_requests=limits.calls_at_once,
        max_queued_requests=limits.waiting_total,
        health_check_period_s=_HEALTH_CHECK_S,
        logging_config={"enable_access_log": False},  # a line for each frame would cost more than its answer
        **options,
    )
    return deployment.bind(make_service)
