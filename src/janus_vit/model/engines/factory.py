"""Make an engine for a model: the named one, the fastest of a precision, or a fallback."""

from __future__ import annotations

from collections.abc import Callable

from janus_vit.errors import InputError
from janus_vit.model.catalog import Model
from janus_vit.model.engines.autotune import fastest
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.registry import AUTO, AUTOS, ENGINES, EngineSpec, check_engine, check_supported


def make_engine(
    model: Model,
    name: str = AUTO,
    keep_model: bool = True,
    on_fallback: Callable[[str], None] = lambda message: None,
) -> Engine:
    """Make the engine of that name for a model.

    Args:
        model: what the engine runs.
        name: a key of `ENGINES`, or a key of `AUTOS` for the fastest engine of that precision, on a CPU or a GPU. The
            fastest one is measured once (`autotune`).
        keep_model: False moves the weights out of the model into the engine. This saves memory. The model cannot make
            another engine afterwards.
        on_fallback: called with a message when this machine cannot run the engine and its fallback runs instead.

    Raises:
        InputError: the engine is unknown or not installed, it cannot run this model, or another engine holds the
            weights of the model.
    """
    check_engine(name)
    if any(parameter.is_meta for parameter in model.network.blocks.parameters()):
        raise InputError(f"the weights of model {model.name!r} are inside another engine: load the model again")
    arch = model.network.architecture
    if name in AUTOS:
        precision = AUTOS[name]
        able = [each for each in ENGINES.values() if each.unsupported_reason(arch) is None]
        name = fastest(model, [each for each in able if each.precision == precision])
    spec = _runnable(name, on_fallback)
    check_supported(spec.name, model)
    return spec.load()(model, keep_model)


def engine_for(model: Model, engine: Engine | str) -> Engine:
    """Return an engine as it is, or make the engine of a name; see `make_engine`."""
    return make_engine(model, engine) if isinstance(engine, str) else engine


def _runnable(name: str, on_fallback: Callable[[str], None]) -> EngineSpec:
    """Return the engine of that name, or its first fallback that this machine can run."""
    spec = ENGINES[name]
    unavailable_reason = spec.load().unavailable_reason()
    if unavailable_reason is None or spec.fallback is None:
        return spec
    on_fallback(f"engine {name!r} cannot run here ({unavailable_reason}): {spec.fallback!r} runs instead")
    return _runnable(spec.fallback, on_fallback)
