"""The application on Ray Serve: how many replicas run, on what, and when there are more or fewer of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from janus_vit.cloud.ray.replica import Replica, make_service
from janus_vit.cloud.ray.settings import RaySettings
from janus_vit.scheduling.config import CloudConfig

if TYPE_CHECKING:
    from janus_vit.cloud.service import CloudService

DEPLOYMENT = "Cloud"
_HEALTH_CHECK_S = 1.0  # Ray Serve notices a dead replica, and starts another one, at its next health check
_WAITING_ONE_BY_ONE = 2.0  # one request runs and one waits: the engine is busy three quarters of the time


@dataclass(frozen=True, slots=True)
class Scale:
    """The replicas that Ray Serve runs.

    Attributes:
        fewest: number of replicas without load.
        most: number of replicas under full load.
        ongoing: requests in a replica, on average, above which there are more of them.
        cpus: CPU cores that Ray reserves for a replica.
        gpus: GPUs that Ray gives to a replica.
    """

    fewest: int
    most: int
    ongoing: float
    cpus: int
    gpus: int

    @classmethod
    def of(cls, settings: RaySettings, gpus: int) -> Scale:
        """One replica a GPU, or on CPUs if the cluster has no GPU."""
        fewest, most = settings.scale(gpus)
        if gpus:
            return cls(fewest, most, max(_WAITING_ONE_BY_ONE, settings.max_batch / 2), cpus=1, gpus=1)
        cpus = settings.threads or max(1, (os.cpu_count() or 1) // most)
        return cls(fewest, most, _WAITING_ONE_BY_ONE, cpus=cpus, gpus=0)

    def __str__(self) -> str:
        count = str(self.most) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return f"{count} replicas" if self.most > 1 else "1 replica"


def app(arguments: Mapping[str, Any]) -> serve.Application:
    """Build the application: `serve run janus_vit.cloud.ray:app profile=/srv/cloud.json model=/srv/my-model`.

    Args:
        arguments: see `RaySettings`.

    Raises:
        InputError: an argument is missing or unknown, or its value cannot be used.
    """
    settings = RaySettings.parse(arguments)
    scale = Scale.of(settings, gpus=int(ray.cluster_resources().get("GPU", 0)))
    return replicas_of(partial(make_service, settings, settings.threads or scale.cpus), scale)


def replicas_of(make: Callable[[], CloudService], scale: Scale) -> serve.Application:
    """Build an application whose replicas serve what `make` returns in their processes."""
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
    return deployment.bind(make)
