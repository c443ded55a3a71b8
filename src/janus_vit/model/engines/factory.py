"""Make the engine of a name for a model: the one that was asked for, the fastest of a precision, or a fallback."""

from __future__ import annotations

from collections.abc import Callable

from janus_vit.errors import InputError
from janus_vit.model.catalog import Model
from janus_vit.model.engines.autotune import fastest
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.registry import AUTO, AUTOS, ENGINES, EngineSpec, check_engine


def make_engine(
    model: Model,
    name: str = AUTO,
    keep_model: bool = True,
    tell: Callable[[str], None] = lambda text: None,
) -> Engine:
    """Make the engine of that name for a model.

    Args:
        name: one of `ENGINES`, or of `AUTOS`: the processor's fastest in that precision, measured once (`choice`).
        keep_model: False lets the engine take the weights over. It saves their memory, and the model can make no other
            engine afterwards.
        tell: gets a sentence if this machine cannot run the engine and its fallback is made instead.

    Raises:
        InputError: unknown, not installed, or a model whose weights another engine has taken over.
    """
    check_engine(name)
    if any(parameter.is_meta for parameter in model.network.blocks.parameters()):
        raise InputError(f"the weights of model {model.name!r} are inside another engine: load the model again")
    if name in AUTOS:
        name = fastest(model, [kind for kind in ENGINES.values() if kind.processor and kind.precision == AUTOS[name]])
    return _runnable(name, tell).load()(model, keep_model)


def engine_for(model: Model, engine: Engine | str) -> Engine:
    """The engine itself, or the one of that name; see `make_engine`."""
    return make_engine(model, engine) if isinstance(engine, str) else engine


def _runnable(name: str, tell: Callable[[str], None]) -> EngineSpec:
    """The engine of that name, or the first of its fallbacks that this machine can run."""
    kind = ENGINES[name]
    unavailable_reason = kind.load().unavailable_reason()
    if unavailable_reason is None or kind.fallback is None:
        return kind
    tell(f"engine {name!r} cannot run here ({unavailable_reason}): {kind.fallback!r} runs instead")
    return _runnable(kind.fallback, tell)
