"""The engines by name, with their requirements and precisions. Imports torch only when an engine is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, cast

from janus_vit.errors import InputError
from janus_vit.planning.accuracy.table import BFLOAT16, FLOAT32, INT8

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model
    from janus_vit.model.engines.base import Engine
    from janus_vit.model.vit import Architecture
    from janus_vit.planning.latency import PlatformProfile

AUTO = "auto"
AUTOS = {AUTO: FLOAT32, "auto-bf16": BFLOAT16, "auto-int8": INT8}  # the fastest engine of that precision


class EngineClass(Protocol):
    """The class of an engine."""

    def __call__(self, model: Model, keep_model: bool = True) -> Engine:
        """Make an engine for the model. Without `keep_model`, the weights may move out of the model."""

    def unavailable_reason(self) -> str | None:
        """Return why this machine cannot run the engine, None if it can."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine that users can name.

    Attributes:
        name: the name that users write.
        location: module and class.
        precision: the precision of the class; see `Engine`.
        fallback: the engine that runs instead where this one cannot.
        package: the package that it needs beside torch.
        extra: the extra of janus-vit that installs the package.
        on_cpu: whether it runs on the CPU.
        plain_only: whether it runs only models without rotary positions, norms within branches and dense heads.
    """

    name: str
    location: tuple[str, str]
    precision: str
    fallback: str | None = None
    package: str | None = None
    extra: str | None = None
    on_cpu: bool = True
    plain_only: bool = False

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is installed."""
        return self.package is None or find_spec(self.package) is not None

    @property
    def runs_here(self) -> bool:
        """Whether it is installed and this machine can run it."""
        return self.installed and self.load().unavailable_reason() is None

    def unsupported_reason(self, arch: Architecture) -> str | None:
        """Return why it cannot run models of an architecture, None if it can."""
        if not self.plain_only:
            return None
        found = {
            "rotary positions": arch.rotary is not None,
            "norms within branches": arch.attn_norm or arch.mlp_norm,
            "dense heads": arch.is_dense,
            "RMS norms": arch.norm == "rms",
        }
        missing = [name for name, needed in found.items() if needed]
        return f"it does not compute {' or '.join(missing)}" if missing else None

    def load(self) -> EngineClass:
        """Import the class."""
        module, name = self.location
        return cast(EngineClass, getattr(import_module(f"janus_vit.model.engines.{module}"), name))


ENGINES = {
    spec.name: spec
    for spec in (
        EngineSpec("eager", ("eager", "EagerEngine"), FLOAT32),
        EngineSpec("packed", ("packed", "PackedEngine"), FLOAT32, fallback="eager"),
        EngineSpec("mkl", ("mkl", "MklEngine"), FLOAT32, fallback="packed"),
        EngineSpec("packed-bf16", ("packed", "PackedBfloat16Engine"), BFLOAT16, fallback="packed"),
        EngineSpec("cuda-f32", ("gpu.engine", "CudaFloat32Engine"), FLOAT32, "packed", on_cpu=False, plain_only=True),
        EngineSpec("cuda", ("gpu.engine", "CudaEngine"), BFLOAT16, "packed-bf16", on_cpu=False, plain_only=True),
        EngineSpec("int8", ("int8", "Int8Engine"), INT8, fallback="packed-bf16"),
        EngineSpec("zen", ("zen", "ZenEngine"), FLOAT32, fallback="packed", package="zentorch", extra="zen"),
        EngineSpec(
            "packed-zen", ("zen", "PackedZenEngine"), FLOAT32, fallback="packed", package="zentorch", extra="zen"
        ),
        EngineSpec(
            "zen-bf16", ("zen", "ZenBfloat16Engine"), BFLOAT16, fallback="packed-bf16", package="zentorch", extra="zen"
        ),
        EngineSpec("zen-int8", ("zen_int8", "ZenInt8Engine"), INT8, fallback="int8", package="zentorch", extra="zen"),
    )
}


def check_engine(name: str) -> None:
    """Check that an engine is known and installed, before anything slow begins.

    Raises:
        InputError: no engine has that name, or its package is not installed.
    """
    if name in AUTOS:
        return
    if name not in ENGINES:
        raise InputError(f"engine {name!r} is unknown: use one of {', '.join((*AUTOS, *ENGINES))}")
    spec = ENGINES[name]
    if not spec.installed:
        raise InputError(f"engine {name!r} needs {spec.package}: pip install 'janus-vit[{spec.extra}]'")


def check_supported(name: str, model: Model) -> None:
    """Check that an engine computes everything that a model needs.

    Raises:
        InputError: it does not.
    """
    spec = ENGINES[name]
    reason = spec.unsupported_reason(model.network.architecture)
    if reason is not None:
        raise InputError(f"engine {name!r} cannot run model {model.name!r}: {reason}: use engine {spec.fallback!r}")


def engine_for_profile(name: str, profile: PlatformProfile) -> str:
    """Choose the engine to run with a profile: the one that it was measured with, instead of an automatic choice.

    Returns:
        `name`, unless it stands for the fastest engine of a precision, and the profile's engine has that precision and
        runs here.
    """
    spec = ENGINES.get(str(profile.about.get("engine")))
    return spec.name if name in AUTOS and spec and spec.precision == AUTOS[name] and spec.runs_here else name


def precision_of(engine: Engine | str) -> str:
    """Return the precision of an engine or of an engine's name; float32 for an unknown name."""
    if not isinstance(engine, str):
        return engine.precision
    return ENGINES[engine].precision if engine in ENGINES else AUTOS.get(engine, FLOAT32)
