"""Engines by name: what each one needs and what it computes in. Imports no torch before an engine is asked for."""

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

AUTO = "auto"
AUTOS = {AUTO: FLOAT32, "auto-bf16": BFLOAT16, "auto-int8": INT8}  # the fastest on the processor in that precision


class EngineClass(Protocol):
    """How an engine is made."""

    def __call__(self, model: Model, keep_model: bool = True) -> Engine:
        """An engine for that model; without `keep_model` its weights may move out of the model."""

    def unavailable_reason(self) -> str | None:
        """Why it cannot run on this machine, None if it can."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine that can be asked for by name.

    Attributes:
        name: as users write it. place: module and class. precision: that of its class; see `Engine`.
        fallback: what runs instead on a machine where this one cannot.
        package, extra: what it needs beside torch, and the extra of janus-vit that installs it.
        processor: whether it runs on the processor.
    """

    name: str
    place: tuple[str, str]
    precision: str
    fallback: str | None = None
    package: str | None = None
    extra: str | None = None
    processor: bool = True

    @property
    def installed(self) -> bool:
        """Whether all that it needs is there."""
        return self.package is None or find_spec(self.package) is not None

    @property
    def runs_here(self) -> bool:
        """Whether it is installed and this machine can run it."""
        return self.installed and self.load().unavailable_reason() is None

    def load(self) -> EngineClass:
        """Import its class."""
        module, name = self.place
        return cast(EngineClass, getattr(import_module(f"janus_vit.model.engines.{module}"), name))


ENGINES = {
    kind.name: kind
    for kind in (
        EngineSpec("eager", ("eager", "EagerEngine"), FLOAT32),
        EngineSpec("packed", ("packed", "PackedEngine"), FLOAT32, fallback="eager"),
        EngineSpec("mkl", ("mkl", "MklEngine"), FLOAT32, fallback="packed"),
        EngineSpec("packed-bf16", ("packed", "PackedBfloat16Engine"), BFLOAT16, fallback="packed"),
        EngineSpec("cuda", ("cuda", "CudaEngine"), BFLOAT16, fallback="packed-bf16", processor=False),
        EngineSpec("int8", ("int8", "Int8Engine"), INT8, fallback="packed-bf16"),
        EngineSpec("zen", ("zen", "ZenEngine"), FLOAT32, fallback="packed", package="zentorch", extra="zen"),
        EngineSpec(
            "packed-zen", ("zen", "PackedZenEngine"), FLOAT32, fallback="packed", package="zentorch", extra="zen"
        ),
        EngineSpec("zen-bf16", ("zen", "ZenBfloat16Engine"), BFLOAT16, "packed-bf16", package="zentorch", extra="zen"),
        EngineSpec("zen-int8", ("zen_int8", "ZenInt8Engine"), INT8, fallback="int8", package="zentorch", extra="zen"),
    )
}


def check_engine(name: str) -> None:
    """Require an engine that can be asked for here, before anything slow begins.

    Raises:
        InputError: there is none of that name, or it is not installed.
    """
    if name in AUTOS:
        return
    if name not in ENGINES:
        raise InputError(f"engine {name!r} is unknown: use one of {', '.join((*AUTOS, *ENGINES))}")
    kind = ENGINES[name]
    if not kind.installed:
        raise InputError(f"engine {name!r} needs {kind.package}: pip install 'janus-vit[{kind.extra}]'")


def precision_of(engine: Engine | str) -> str:
    """What an engine, or the one of that name, computes in; float32 for a name that nobody knows."""
    if not isinstance(engine, str):
        return engine.precision
    return ENGINES[engine].precision if engine in ENGINES else AUTOS.get(engine, FLOAT32)
