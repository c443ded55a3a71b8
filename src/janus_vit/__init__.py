"""Janus-ViT: Vision Transformer inference that meets its deadline, across a device, a cloud and a changing network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from janus_vit.calibration.profiler import profile_machine
    from janus_vit.cloud.server import Cloud
    from janus_vit.model.catalog import load_model
    from janus_vit.model.engines.factory import make_engine
    from janus_vit.runtime.connect import connect
    from janus_vit.runtime.device import Device

__all__ = ["Cloud", "Device", "__version__", "connect", "load_model", "make_engine", "profile_machine"]
__version__ = "0.2.0"

_HOMES = {
    "load_model": "janus_vit.model.catalog",
    "make_engine": "janus_vit.model.engines.factory",
    "connect": "janus_vit.runtime.connect",
    "profile_machine": "janus_vit.calibration.profiler",
    "Device": "janus_vit.runtime.device",
    "Cloud": "janus_vit.cloud.server",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that `import janus_vit.planning` needs numpy alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
