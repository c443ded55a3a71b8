"""Connect to a cloud: make a device that is ready for frames from a model and an address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from janus_vit.model.catalog import Model
from janus_vit.model.engines.factory import engine_for
from janus_vit.model.tasks import EMBED, REGRESS
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.policies.presets import make_policy
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.device import Device
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.runtime.handshake import shake_hands
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.runtime.worker import warm_up
from janus_vit.wire.answer_check import Outputs


def connect(
    model: Model, address: str, profile: PlatformProfile, config: DeviceConfig | None = None, **options: Any
) -> Device:
    """Connect a device to a cloud that serves the same model.

    Example: `connect(model, "10.0.0.5:50051", profile, sla_s=0.3, policy="janus")`.

    Args:
        model: the model; the cloud must serve the same one.
        address: the cloud's address, "host:port".
        profile: latency profile of this machine, from `profile_machine` or `load_profile`.
        config: settings; default: `DeviceConfig()`.
        **options: fields of `DeviceConfig`, which replace those of `config`.

    Returns:
        A device that is ready for frames. Close it, or use it as a context manager.

    Raises:
        InputError: no cloud answers, an option is unknown or cannot be used, or the accuracy table belongs to another
            model or precision.
        ModelMismatch: the cloud runs another model.
    """
    settings = (config or DeviceConfig()).with_options(options)
    engine = engine_for(model, settings.engine)
    accuracy = accuracy_for(model, engine.precision, settings.accuracy)
    transport = GrpcTransport(address, expected_outputs(model), settings.credentials)
    try:
        platforms = replace(shake_hands(model, transport, address, profile=profile, config=settings), accuracy=accuracy)
        policy = make_policy(settings.policy, platforms)
        worker = LocalWorker(model, engine)
        warm_up(worker, model.shape)
        return Device(
            worker,
            transport,
            policy,
            sla_s=settings.sla_s,
            name=settings.device_name,
            probe_timeout_s=settings.probe_timeout_s,
        )
    except BaseException:
        transport.close()
        raise


def expected_outputs(model: Model) -> Outputs:
    """Size and meaning of the model's answers, to check replies against."""
    width = model.network.output_width
    return Outputs(0, width, model.task) if model.task in (EMBED, REGRESS) else Outputs(width, task=model.task)


def accuracy_for(model: Model, precision: str, table: AccuracyTable | None, source: str = "") -> AccuracyTable | None:
    """Find the accuracy table of a model at a precision.

    Args:
        model: the model.
        precision: precision that its engine computes in.
        table: a table measured by the user; None takes the model's own table.
        source: name of `table` in error messages.

    Returns:
        The table; None if there is none for that precision.

    Raises:
        InputError: `table` belongs to another model or precision.
    """
    if table is not None:
        return table.for_model(model.name, model.fingerprint, precision, source=source or "the accuracy table")
    own = model.accuracy
    return own if own is not None and own.precision == precision else None
