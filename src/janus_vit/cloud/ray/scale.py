"""How many replicas Ray Serve runs, and on what. Imports neither Ray nor torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from janus_vit.cloud.ray.settings import RaySettings

DEPLOYMENT = "Cloud"  # name of the deployment on Ray Serve
_ONGOING = 2.0  # one request runs and one waits: an engine that runs frames one by one is busy 3/4 of the time


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
            return cls(fewest, most, max(_ONGOING, settings.max_batch / 2), cpus=1, gpus=1)
        cpus = settings.threads or max(1, (os.cpu_count() or 1) // most)
        return cls(fewest, most, _ONGOING, cpus=cpus, gpus=0)

    def __str__(self) -> str:
        count = str(self.most) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return f"{count} replicas" if self.most > 1 else "1 replica"
