"""The arguments of the application on Ray Serve. They come from a command line or a YAML file and are checked here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from janus_vit.errors import InputError
from janus_vit.model.engines.registry import AUTO, check_engine
from janus_vit.model.image_size import parse_image_size
from janus_vit.scheduling.config import CloudConfig

_REPLICAS = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
_COUNTS = ("threads", "max_batch")


@dataclass(frozen=True, slots=True)
class RaySettings:
    """Arguments of the application. Every machine of the cluster must be able to read the files that they name.

    Attributes:
        profile: path of the cloud's latency profile.
        model: name or path of the model.
        task: the model's task; None is its own.
        image_size: size of the model's input, as `parse_image_size` reads it; None is its own size.
        architecture: timm's name of the architecture; None is what the checkpoint says.
        engine: name of the engine.
        threads: CPU threads of a replica. None: one with a GPU; without, the cores divided by the most replicas.
        max_batch: frames that run together at most.
        replicas: number of replicas, such as "2", or "1-4" to scale with the load; None is 1 to the number of GPUs.
    """

    profile: str
    model: str = "janus-digits"
    task: str | None = None
    image_size: str | None = None
    architecture: str | None = None
    engine: str = AUTO
    threads: int | None = None
    max_batch: int = CloudConfig().max_batch_frames
    replicas: str | None = None

    @classmethod
    def parse(cls, arguments: Mapping[str, Any]) -> RaySettings:
        """Check the arguments of the application.

        Raises:
            InputError: an argument is missing or unknown, or its value cannot be used.
        """
        known = [field.name for field in fields(cls)]
        for name in arguments:
            if name not in known:
                raise InputError(f"argument {name!r} is unknown: use one of {', '.join(known)}")
        if arguments.get("profile") is None:
            raise InputError(
                "argument profile is missing: measure a profile with 'janus-vit profile --quick --out cloud.json'"
            )
        given = {name: value for name, value in arguments.items() if value is not None}
        values: dict[str, Any] = {
            name: _count(name, value) if name in _COUNTS else str(value) for name, value in given.items()
        }
        settings = cls(**values)
        check_engine(settings.engine)
        if settings.image_size is not None:
            parse_image_size(settings.image_size)
        settings.scale(gpus=0)
        return settings

    def scale(self, gpus: int) -> tuple[int, int]:
        """Return the smallest and the largest number of replicas on a cluster with that many GPUs.

        Raises:
            InputError: `replicas` is neither a number nor a range.
        """
        if self.replicas is None:
            return 1, max(1, gpus)
        match = _REPLICAS.fullmatch(self.replicas)
        fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= fewest <= most:
            raise InputError(f"replicas {self.replicas!r} is neither a number nor a range: write one such as 2 or 1-4")
        return fewest, most


def _count(name: str, value: object) -> int:
    text = str(value)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"argument {name} is {value!r} and must be a whole number, at least 1")
    return int(text)
