"""From a model and an address to a device that is ready for frames: handshake, first look at the link, policy."""

from __future__ import annotations

import os
import socket
import statistics
from dataclasses import replace

import grpc
import numpy as np

from janus_vit.errors import InputError, ModelMismatch, TransportError
from janus_vit.model.catalog import Model
from janus_vit.model.checkpoints.reader import EMBED
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import engine_for
from janus_vit.model.engines.registry import AUTO, precision_of
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.latency import PlatformProfile, parse_profile
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.presets import Platforms, make_policy
from janus_vit.planning.schedules import make_schedule
from janus_vit.runtime.device import Device
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.runtime.worker import Worker
from janus_vit.wire.messages import Outputs

_HELLO_TIMEOUT_S = 10.0
_PROBE_TIMEOUT_S = 5.0
_PROBES_BYTES = (1_000, 1_000, 64_000, 64_000)  # two for the round trip, two for the rate
_SLOWEST_MBPS = 0.1


def connect(
    model: Model,
    address: str,
    sla_s: float,
    profile: PlatformProfile,
    policy: str = "adaptive",
    images_allowed: bool = True,
    name: str | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    worker: Worker | None = None,
    accuracy: AccuracyTable | None = None,
    engine: Engine | str = AUTO,
) -> Device:
    """Connect to a cloud and make it agree on the model.

    Args:
        address: "host:port". sla_s: time allowed for each frame. profile: this machine's latency.
        policy: a name of `planning.presets.POLICIES`. images_allowed: False keeps pixels on this device.
        name: tells devices apart at the cloud; default: host and process. credentials: for TLS.
        worker: runs the model, with `engine`; default: this machine. accuracy: measured on your frames; default: the
            model's own. engine: what runs the model, or its name; default: the fastest that computes in float32.

    Raises:
        InputError: no cloud there, another model there or in `accuracy`, or an SLA, policy or engine that cannot be
            used.
    """
    runner = engine_for(model, engine) if worker is None else engine
    known = accuracy_for(model, precision_of(runner), accuracy)
    transport = GrpcTransport(address, outputs_of(model), credentials)
    try:
        platforms = replace(shake_hands(model, transport, address, profile, images_allowed), accuracy=known)
        chosen = make_policy(policy, platforms)
        worker = worker or LocalWorker(model, engine_for(model, runner))
        warm_up(worker, model)
        return Device(worker, transport, chosen, sla_s, (name or f"{socket.gethostname()}-{os.getpid()}")[-64:])
    except BaseException:
        transport.close()
        raise


def outputs_of(model: Model) -> Outputs:
    """What replies about a model must hold."""
    width = model.network.output_width
    return Outputs(0, width) if model.task == EMBED else Outputs(width)


def accuracy_for(model: Model, precision: str, table: AccuracyTable | None, source: str = "") -> AccuracyTable | None:
    """What is known of the model's accuracy at that precision: the table, or the model's own if there is none.

    Raises:
        InputError: the table is of another model or precision; `source` names it there.
    """
    if table is not None:
        return table.for_model(model.name, model.fingerprint, precision, source or "the accuracy table")
    own = model.accuracy
    return own if own is not None and own.precision == precision else None


def warm_up(worker: Worker, model: Model) -> None:
    """Run one empty frame, so that the first real one does not pay for memory and thread pools."""
    shape = model.shape
    schedule = make_schedule("fixed", 1.0, shape)
    channels, *size = model.shape.input_shape
    frame = np.zeros((*size, channels), np.uint8)
    plan = Plan(schedule.family, schedule.level, schedule.applied, shape.blocks + 1, LOCAL)
    worker.finish(worker.compute(worker.prepare(frame), plan), plan)


def shake_hands(
    model: Model, transport: GrpcTransport, address: str, profile: PlatformProfile, images_allowed: bool = True
) -> Platforms:
    """Compare models, learn the cloud's latency, and take a first look at the link.

    Raises:
        InputError: nobody answers, or the cloud runs another model. WireError: something else answers.
    """
    if profile.model != model.name:
        raise InputError(f"the profile is of model {profile.model!r}, not {model.name!r}: profile this model")
    try:
        greeting = transport.hello(_HELLO_TIMEOUT_S)
    except TransportError as error:
        raise InputError(f"no janus-vit cloud answers ({error}): start one there, or check host and port") from error
    if greeting.fingerprint != model.fingerprint:
        raise ModelMismatch(
            f"the cloud at {address} runs {greeting.model} ({greeting.fingerprint}) and this device "
            f"{model.name} ({model.fingerprint}): start both with the same --model"
        )
    cloud = parse_profile(greeting.profile_json, f"profile of {address}")
    seen = [transport.measure_link(size_bytes, _PROBE_TIMEOUT_S) for size_bytes in _PROBES_BYTES]
    rtts = [transfer.rtt_s for transfer in seen if transfer.rtt_s is not None]
    rates = [transfer.rate_mbps for transfer in seen[2:] if transfer.delivered]
    return Platforms(
        model.shape,
        profile,
        cloud,
        rate_mbps=max(statistics.harmonic_mean(rates), _SLOWEST_MBPS) if rates else _SLOWEST_MBPS,
        rtt_s=min(rtts) if rtts else _PROBE_TIMEOUT_S,
        accuracy=model.accuracy,
        images_allowed=images_allowed,
    )
