"""Engines by name, and the fastest of those of one precision. Imports no torch before one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, cast

from janus_vit.errors import InputError
from janus_vit.planning.accuracy import BFLOAT16, FLOAT32, INT8

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model
    from janus_vit.model.engines.base import Engine

AUTO = "auto"
AUTOS = {AUTO: FLOAT32, "auto-bf16": BFLOAT16, "auto-int8": INT8}  # the fastest on the processor in that precision


class EngineClass(Protocol):
    """How an engine is made."""

    def __call__(self, model: Model, keep_model: bool = True) -> Engine:
        """An engine for that model; without `keep_model` its weights may move out of the model."""

    def obstacle(self) -> str | None:
        """Why it cannot run on this machine, None if it can."""


@dataclass(frozen=True, slots=True)
class Kind:
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
        return self.installed and self.load().obstacle() is None

    def load(self) -> EngineClass:
        """Import its class."""
        module, name = self.place
        return cast(EngineClass, getattr(import_module(f"janus_vit.model.engines.{module}"), name))


KINDS = {
    kind.name: kind
    for kind in (
        Kind("eager", ("eager", "EagerEngine"), FLOAT32),
        Kind("packed", ("packed", "PackedEngine"), FLOAT32, fallback="eager"),
        Kind("mkl", ("mkl", "MklEngine"), FLOAT32, fallback="packed"),
        Kind("packed-bf16", ("packed", "PackedBfloat16Engine"), BFLOAT16, fallback="packed"),
        Kind("cuda", ("cuda", "CudaEngine"), BFLOAT16, fallback="packed-bf16", processor=False),
        Kind("int8", ("int8", "Int8Engine"), INT8, fallback="packed-bf16"),
        Kind("zen", ("zen", "ZenEngine"), FLOAT32, fallback="packed", package="zentorch", extra="zen"),
        Kind("packed-zen", ("zen", "PackedZenEngine"), FLOAT32, fallback="packed", package="zentorch", extra="zen"),
        Kind("zen-bf16", ("zen", "ZenBfloat16Engine"), BFLOAT16, "packed-bf16", package="zentorch", extra="zen"),
        Kind("zen-int8", ("zen_int8", "ZenInt8Engine"), INT8, fallback="int8", package="zentorch", extra="zen"),
    )
}


def check_engine(name: str) -> None:
    """Require an engine that can be asked for here, before anything slow begins.

    Raises:
        InputError: there is none of that name, or it is not installed.
    """
    if name in AUTOS:
        return
    if name not in KINDS:
        raise InputError(f"engine {name!r} is unknown: use one of {', '.join((*AUTOS, *KINDS))}")
    kind = KINDS[name]
    if not kind.installed:
        raise InputError(f"engine {name!r} needs {kind.package}: pip install 'janus-vit[{kind.extra}]'")


def make_engine(
    model: Model,
    name: str = AUTO,
    keep_model: bool = True,
    tell: Callable[[str], None] = lambda text: None,
) -> Engine:
    """Make the engine of that name for a model.

    Args:
        name: one of `KINDS`, or of `AUTOS`: the processor's fastest in that precision, measured once (`choice`).
        keep_model: False lets the engine take the weights over. It saves their memory, and the model can make no other
            engine afterwards.
        tell: gets a sentence if this machine cannot run the engine and its fallback is made instead.

    Raises:
        InputError: unknown, not installed, or a model whose weights another engine has taken over.
    """
    from janus_vit.model.engines.choice import fastest

    check_engine(name)
    if any(parameter.is_meta for parameter in model.network.blocks.parameters()):
        raise InputError(f"the weights of model {model.name!r} are inside another engine: load the model again")
    if name in AUTOS:
        name = fastest(model, [kind for kind in KINDS.values() if kind.processor and kind.precision == AUTOS[name]])
    return _runnable(name, tell).load()(model, keep_model)


def engine_for(model: Model, engine: Engine | str) -> Engine:
    """The engine itself, or the one of that name; see `make_engine`."""
    return make_engine(model, engine) if isinstance(engine, str) else engine


def precision_of(engine: Engine | str) -> str:
    """What an engine, or the one of that name, computes in; float32 for a name that nobody knows."""
    if not isinstance(engine, str):
        return engine.precision
    return KINDS[engine].precision if engine in KINDS else AUTOS.get(engine, FLOAT32)


def _runnable(name: str, tell: Callable[[str], None]) -> Kind:
    """The engine of that name, or the first of its fallbacks that this machine can run."""
    kind = KINDS[name]
    obstacle = kind.load().obstacle()
    if obstacle is None or kind.fallback is None:
        return kind
    tell(f"engine {name!r} cannot run here ({obstacle}): {kind.fallback!r} runs instead")
    return _runnable(kind.fallback, tell)
