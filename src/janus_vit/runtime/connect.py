"""Connect to a cloud: make a device that is ready for frames from a model and an address."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from janus_vit.errors import TooMany
from janus_vit.model.catalog import Model
from janus_vit.model.engines.factory import engine_for
from janus_vit.model.heads.answers import map_format
from janus_vit.model.tasks import DENSE_TASKS, DETECT, EMBED, POSE, REGRESS
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Policy
from janus_vit.planning.policies.doubting import DoubtingPolicy
from janus_vit.planning.policies.presets import make_lone_policy, make_policy
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.device import Device
from janus_vit.runtime.grpc_client import GrpcTransport, Metadata
from janus_vit.runtime.handshake import check_profile, shake_hands
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.runtime.search.absent_cloud import CloudSearch, SearchedPolicy, SearchedTransport
from janus_vit.runtime.search.connection import Returns
from janus_vit.runtime.stream_counters import StreamCounters
from janus_vit.runtime.worker import warm_up
from janus_vit.tracing.frames import FrameTracer
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.dense.answers import DenseOutputs
from janus_vit.wire.rpc import STREAM
from janus_vit.wire.stream_report import serialise_stream_report

_LONGEST_HELLO_S = 3.0  # frames wait for the first attempt, and there are more
_TOO_MANY = f"{TooMany.__name__}: "
_UNKNOWN_MBPS, _UNKNOWN_RTT_S = 1.0, 0.0  # of the link to a cloud that is absent, which no plan uses


def connect(
    model: Model,
    address: str,
    profile: PlatformProfile,
    config: DeviceConfig | None = None,
    notify: Callable[[str], None] = lambda message: None,
    **options: Any,
) -> Device:
    """Connect a device to a cloud that serves the same model.

    Example: `connect(model, "10.0.0.5:50051", profile, sla_s=0.3, policy="janus")`.

    With `require_cloud=False` the device runs alone while no cloud answers, and tries again in the background. A cloud
    that runs another model is never used, also if it comes back with one later.

    Args:
        model: the model; the cloud must serve the same one.
        address: the cloud's address, "host:port".
        profile: latency profile of this machine, from `profile_machine` or `load_profile`.
        config: settings; default: `DeviceConfig()`.
        notify: called with one sentence when the cloud is found, absent or refused, and once if it tells what cannot be
            right; also from another thread.
        **options: fields of `DeviceConfig`, which replace those of `config`.

    Returns:
        A device that is ready for frames. Close it, or use it as a context manager.

    Raises:
        InputError: no cloud answers although one is required, an option is unknown or cannot be used, or the profile
            or the accuracy table belongs to another model or precision.
        ModelMismatch: the cloud runs another model, although one is required.
    """
    settings = (config or DeviceConfig()).with_options(options)
    if not settings.require_cloud:
        settings = replace(settings, hello_timeout_s=min(settings.hello_timeout_s, _LONGEST_HELLO_S))
    engine = engine_for(model, settings.engine)
    accuracy = accuracy_for(model, engine.precision, settings.accuracy)
    check_profile(profile, model)
    alone = Platforms(
        model.shape, profile, profile, _UNKNOWN_MBPS, _UNKNOWN_RTT_S, accuracy, images_allowed=settings.images_allowed
    )
    worker = LocalWorker(model, engine)
    stream = StreamCounters(settings.device_name)
    outputs, credentials = expected_outputs(model), settings.credentials
    transport = GrpcTransport(
        address, outputs, credentials, settings.token, lambda: _metadata(stream), lambda error: search.unknown(error)
    )

    def join() -> Policy:
        platforms = shake_hands(model, transport, address, profile=profile, config=settings)
        return make_policy(settings.policy, replace(platforms, accuracy=accuracy), settings.late_target)

    returns = Returns(transport.channel)
    search = CloudSearch(
        make_lone_policy(settings.policy, alone, settings.late_target), join, address, notify, watch=returns.watched
    )
    try:
        search.begin(required=settings.require_cloud)
        warm_up(worker, model.shape)
        return Device(
            worker,
            SearchedTransport(transport, search),
            DoubtingPolicy(SearchedPolicy(search), lambda: transport.sent_s),
            sla_s=settings.sla_s,
            name=settings.device_name,
            probe_timeout_s=settings.probe_timeout_s,
            on_outcome=_Listener(stream, address, notify, settings.tracer),
            in_flight=settings.in_flight,
            trace=_untraced if settings.tracer is None else settings.tracer.begin,
        )
    except BaseException:
        search.close()
        transport.close()
        raise


class _Listener:
    """Counts and traces frames, and says once that a cloud tells what cannot be right or refuses so many frames."""

    def __init__(
        self, stream: StreamCounters, address: str, notify: Callable[[str], None], tracer: FrameTracer | None
    ) -> None:
        self._stream = stream
        self._address = address
        self._notify = notify
        self._tracer = tracer
        self._has_told = self._has_told_limit = False

    def __call__(self, outcome: Outcome) -> None:
        self._stream.add(outcome)
        if self._tracer is not None:
            self._tracer.end(outcome)
        wrong = outcome.refused_reply or next(iter(outcome.impossible), None)
        if wrong is not None and not self._has_told:
            self._has_told = True
            self._notify(f"{self._address} tells what cannot be right, which is not used: {wrong}; the rest is counted")
        if not self._has_told_limit and (outcome.fallback or "").startswith(_TOO_MANY):
            self._has_told_limit = True
            self._notify(f"{(outcome.fallback or '').removeprefix(_TOO_MANY)}; fewer frames are in flight from now on")


def _untraced() -> None:
    """The trace of every frame."""


def _metadata(stream: StreamCounters) -> Metadata:
    report = stream.due(time.perf_counter())
    return () if report is None else ((STREAM, serialise_stream_report(report)),)


def expected_outputs(model: Model) -> Outputs:
    """Size and meaning of the model's answers, to check replies against."""
    width = model.network.output_width
    if model.task in DENSE_TASKS:
        points, labels = (len(model.labels) if model.task == task else 0 for task in (POSE, DETECT))
        dense = DenseOutputs(map_format(model.dense_shape, model.task, len(model.labels)), labels, points)
        return Outputs(0, task=model.task, dense=dense)
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
