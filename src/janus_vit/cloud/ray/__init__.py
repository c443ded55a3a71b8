"""The cloud on Ray Serve: one replica a GPU, behind Ray Serve's own gRPC proxy.

`serve run janus_vit.cloud.ray:app` finds the application here. Only `application` and `local` import Ray.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from janus_vit.cloud.ray.application import app

    return app
