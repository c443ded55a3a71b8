"""Janus-ViT: Vision Transformer inference that meets its deadline, across a device, a cloud and a changing network.

`__all__` is the public interface; every other name may change without notice.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from janus_vit.calibration.profiler import profile_machine
    from janus_vit.cloud.access.settings import Access
    from janus_vit.cloud.server import Cloud
    from janus_vit.errors import (
        CloudFailed,
        DeadlineExceeded,
        InputError,
        JanusError,
        ModelMismatch,
        OtherModel,
        Overloaded,
        Rejected,
        TooMany,
        TransportError,
        Unauthenticated,
        Unreachable,
        WireError,
    )
    from janus_vit.model.catalog import Model, load_model
    from janus_vit.model.engines.factory import make_engine
    from janus_vit.model.image_size import FrameSize
    from janus_vit.planning.accuracy.table import AccuracyTable, load_accuracy
    from janus_vit.planning.latency import PlatformProfile, load_profile
    from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction, Transfer
    from janus_vit.planning.plan import Plan
    from janus_vit.planning.platforms import Platforms
    from janus_vit.planning.policies.base import Decision, Policy, Situation, predict
    from janus_vit.planning.policies.presets import make_policy
    from janus_vit.planning.table import PlanTable
    from janus_vit.runtime.config import DeviceConfig
    from janus_vit.runtime.connect import connect
    from janus_vit.runtime.device import Device
    from janus_vit.scheduling.config import CloudConfig
    from janus_vit.sources.frames import Sample, Source, open_source

__version__ = "0.2.0"

_HOMES = {
    # A device and its cloud
    "load_model": "janus_vit.model.catalog",
    "Model": "janus_vit.model.catalog",
    "FrameSize": "janus_vit.model.image_size",
    "make_engine": "janus_vit.model.engines.factory",
    "profile_machine": "janus_vit.calibration.profiler",
    "load_profile": "janus_vit.planning.latency",
    "PlatformProfile": "janus_vit.planning.latency",
    "load_accuracy": "janus_vit.planning.accuracy.table",
    "AccuracyTable": "janus_vit.planning.accuracy.table",
    "Cloud": "janus_vit.cloud.server",
    "Access": "janus_vit.cloud.access.settings",
    "CloudConfig": "janus_vit.scheduling.config",
    "connect": "janus_vit.runtime.connect",
    "Device": "janus_vit.runtime.device",
    "DeviceConfig": "janus_vit.runtime.config",
    # Frames, and what happened to one
    "open_source": "janus_vit.sources.frames",
    "Source": "janus_vit.sources.frames",
    "Sample": "janus_vit.sources.frames",
    "Outcome": "janus_vit.planning.outcome",
    "Answer": "janus_vit.planning.outcome",
    "Prediction": "janus_vit.planning.outcome",
    "Measured": "janus_vit.planning.outcome",
    "Transfer": "janus_vit.planning.outcome",
    "Plan": "janus_vit.planning.plan",
    # Policies
    "Policy": "janus_vit.planning.policies.base",
    "Situation": "janus_vit.planning.policies.base",
    "Decision": "janus_vit.planning.policies.base",
    "predict": "janus_vit.planning.policies.base",
    "PlanTable": "janus_vit.planning.table",
    "Platforms": "janus_vit.planning.platforms",
    "make_policy": "janus_vit.planning.policies.presets",
    # Errors
    "JanusError": "janus_vit.errors",
    "InputError": "janus_vit.errors",
    "WireError": "janus_vit.errors",
    "ModelMismatch": "janus_vit.errors",
    "OtherModel": "janus_vit.errors",
    "TransportError": "janus_vit.errors",
    "Unreachable": "janus_vit.errors",
    "CloudFailed": "janus_vit.errors",
    "DeadlineExceeded": "janus_vit.errors",
    "Overloaded": "janus_vit.errors",
    "Rejected": "janus_vit.errors",
    "TooMany": "janus_vit.errors",
    "Unauthenticated": "janus_vit.errors",
}

__all__ = [
    "Access",
    "AccuracyTable",
    "Answer",
    "Cloud",
    "CloudConfig",
    "CloudFailed",
    "DeadlineExceeded",
    "Decision",
    "Device",
    "DeviceConfig",
    "FrameSize",
    "InputError",
    "JanusError",
    "Measured",
    "Model",
    "ModelMismatch",
    "OtherModel",
    "Outcome",
    "Overloaded",
    "Plan",
    "PlanTable",
    "PlatformProfile",
    "Platforms",
    "Policy",
    "Prediction",
    "Rejected",
    "Sample",
    "Situation",
    "Source",
    "TooMany",
    "Transfer",
    "TransportError",
    "Unauthenticated",
    "Unreachable",
    "WireError",
    "__version__",
    "connect",
    "load_accuracy",
    "load_model",
    "load_profile",
    "make_engine",
    "make_policy",
    "open_source",
    "predict",
    "profile_machine",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import janus_vit.planning` needs only numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
