"""The cloud on Ray Serve: one replica a GPU, behind Ray Serve's own gRPC proxy. `app` builds the application."""

from janus_vit.cloud.ray.application import app

__all__ = ["app"]
